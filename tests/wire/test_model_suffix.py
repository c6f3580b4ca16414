"""`:floor` and `:nitro` behind the name of a model are wishes, unless a model is really called so."""

from __future__ import annotations

import json

import pytest

from entrepot.domain.request import Sort
from tests.wire.bodies import CHAT, MINIMAL, accepted, sent

KNOWN = ("a/x", "b/y", "c/z:floor", "d/w:8b")


@pytest.mark.parametrize(
    ("fields", "models", "sort"),
    [
        ({"model": "a/x"}, ("a/x",), None),
        ({"model": "a/x:floor"}, ("a/x",), "price"),
        ({"model": "a/x:nitro"}, ("a/x",), "throughput"),
        ({"model": "d/w:8b"}, ("d/w:8b",), None),
        ({"model": "d/w:8b:nitro"}, ("d/w:8b",), "throughput"),
        ({"model": "c/z:floor"}, ("c/z:floor",), None),
        ({"model": "c/z:floor:floor"}, ("c/z:floor",), "price"),
        ({"model": "a/x:free"}, ("a/x:free",), None),
        ({"model": "a/unknown:floor"}, ("a/unknown:floor",), None),
        ({"model": "a/x:Floor"}, ("a/x:Floor",), None),
        ({"model": ":floor"}, (":floor",), None),
        ({"model": "a/x:floor", "models": ["b/y:floor"]}, ("a/x", "b/y"), "price"),
        ({"model": "a/x", "models": ["b/y:nitro", "c/z:floor"]}, ("a/x", "b/y", "c/z:floor"), "throughput"),
        ({"model": "a/x", "models": ["a/x:floor"]}, ("a/x",), "price"),
        ({"model": "a/x:floor", "provider": {"sort": "price"}}, ("a/x",), "price"),
        ({"model": "a/x:floor", "provider": {"sort": {"by": None}}}, ("a/x",), "price"),
    ],
)
def test_a_suffix_is_a_sort_unless_a_model_is_called_so(
    fields: dict[str, object], models: tuple[str, ...], sort: Sort | None
) -> None:
    """A name that is configured wins; a name of nobody stays whole, for the refusal to quote it."""
    request = accepted(json.dumps(MINIMAL[CHAT] | fields).encode(), known_models=KNOWN).request
    assert (request.models, request.preferences.sort) == (models, sort)


def test_other_preferences_stay_with_a_suffix() -> None:
    """It replaces nothing but the sort; the host is asked for the model as it calls it."""
    fields = {"model": "a/x:floor", "provider": {"only": ["h"], "zdr": True}}
    body = accepted(json.dumps(MINIMAL[CHAT] | fields).encode(), known_models=KNOWN)
    preferences = body.request.preferences
    assert (preferences.only, preferences.zero_data_retention, preferences.sort) == (("h",), True, "price")
    assert sent(body)["model"] == "r1"
