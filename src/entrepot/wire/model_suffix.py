"""Suffixes of model names, as OpenRouter has them: `developer/name:floor` is a wish, not another model."""

from collections.abc import Collection, Mapping

from entrepot.domain.request import Sort

SUFFIX_SORTS: Mapping[str, Sort] = {"floor": "price", "nitro": "throughput"}
"""What each suffix means as `provider.sort`. Source: openrouter.ai/docs, provider routing, November 2026."""


def without_suffixes(
    models: Collection[str], known: Collection[str]
) -> tuple[tuple[str, ...], dict[Sort, str]]:
    """Return the names of the models, each once, and for each sort the first name whose suffix asks for it.

    A name that is `known` as it stands keeps its end, and so does one of a model that nobody knows: it is
    refused under the name that was sent.
    """
    names: dict[str, None] = {}
    sorts: dict[Sort, str] = {}
    for name in models:
        base, _, suffix = name.rpartition(":")
        sort = SUFFIX_SORTS.get(suffix)
        if sort is None or name in known or base not in known:
            names[name] = None
        else:
            names[base] = None
            sorts.setdefault(sort, name)
    return tuple(names), sorts
