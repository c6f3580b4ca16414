"""Sentences about a `Decision`, made when someone reads them.

Nothing of this is stored: a sentence costs more bytes than the numbers it tells, and its wording may
improve. `reason` alone is made for every response, and is kept cheap.
"""

from collections.abc import Mapping, Sequence

from entrepot.domain.endpoint import Endpoint
from entrepot.routing.decision import Candidate, Decision, Exclusion, ExclusionReason, Ranking
from entrepot.routing.rank import TIE
from entrepot.routing.rule import Attribute, Rule

NO_RULES_KNOWN: Mapping[str, Rule] = {}

_TEXTS = {
    ExclusionReason.OPERATION: "does not serve this operation",
    ExclusionReason.ONLY: "is not among provider.only",
    ExclusionReason.IGNORED: "is in provider.ignore",
    ExclusionReason.NOT_IN_ORDER: "is not in provider.order, and fallbacks are not allowed",
    ExclusionReason.QUANTIZATION: "does not declare a quantization among provider.quantizations",
    ExclusionReason.DATA_COLLECTION: "does not declare that it never trains on data (data_collection: deny)",
    ExclusionReason.ZERO_DATA_RETENTION: "does not declare zero data retention (provider.zdr)",
    ExclusionReason.PARAMETERS: "does not accept {seen:.0f} of the parameters sent (require_parameters)",
    ExclusionReason.NO_PRICE: "has no declared price, which a budget or a price limit needs",
    ExclusionReason.INPUT_PRICE: "charges ${seen:g} per million input tokens, over the limit of ${limit:g}",
    ExclusionReason.OUTPUT_PRICE: "charges ${seen:g} per million output tokens, over the limit of ${limit:g}",
    ExclusionReason.REQUEST_PRICE: "charges ${seen:g} per request, over the limit of ${limit:g}",
    ExclusionReason.CONTEXT: "has a context window of {limit:.0f} tokens, {seen:.0f} may be needed",
    ExclusionReason.MAX_OUTPUT: "writes at most {limit:.0f} tokens, {seen:.0f} were asked for",
    ExclusionReason.ANSWER_COST: "may cost up to ${seen:.3g}, over the limit of ${limit:.3g}",
    ExclusionReason.TTFT: "may begin only after {seen:.3g} s, over the limit of {limit:.3g} s",
    ExclusionReason.TOKENS_PER_S: "may write only {seen:.3g} tokens/s, under the limit of {limit:.3g}",
    ExclusionReason.ANSWER_TIME: "may take {seen:.3g} s, over the limit of {limit:.3g} s",
    ExclusionReason.QUALITY: "has {seen:.0%} answers of use, under the floor of {limit:.0%}",
    ExclusionReason.IN_TIME: "is in time, failures counted, in {seen:.1%} of cases, under {limit:.1%}",
    ExclusionReason.NO_FALLBACKS: "is not tried without fallbacks (score {seen:.4g}, winner {limit:.4g})",
}


def exclusion_sentence(exclusion: Exclusion, name: str, rules: Mapping[str, Rule] = NO_RULES_KNOWN) -> str:
    """Return in one sentence why the endpoint called `name` was excluded.

    `rules` are those that are known, by name: of one that is not, the sentence has its name alone.
    """
    if exclusion.reason is ExclusionReason.RULE:
        return f"{name} {_rule_text(exclusion, rules.get(exclusion.rule))}"
    return f"{name} {_TEXTS[exclusion.reason].format(seen=exclusion.seen, limit=exclusion.limit)}"


def _rule_text(exclusion: Exclusion, rule: Rule | None) -> str:
    """Return which rule excludes, where it comes from, and which attribute decided."""
    text = f"is excluded by {_named(exclusion.rule, rule)}"
    decided = _decided_text(exclusion)
    return f"{text} - {decided}" if decided else text


def _named(name: str, rule: Rule | None) -> str:
    text = f"the rule {name or '(unnamed)'}"
    return text if rule is None else f"{text} ({rule.origin}): {rule.sentence.rstrip('.')}"


def _decided_text(exclusion: Exclusion) -> str:
    """Return which attribute decided; nothing where a later version knows it."""
    try:
        attribute = Attribute(abs(int(exclusion.limit))).text
    except ValueError:
        return ""
    return f"{attribute} {'is not declared' if exclusion.limit < 0 else 'decides'}"


def rules_sentences(
    excluded: Sequence[Exclusion], names: Mapping[int, str], rules: Mapping[str, Rule]
) -> list[str]:
    """Return one sentence for each rule and attribute that exclude, with the endpoints that they do."""
    groups: dict[tuple[str, str], list[str]] = {}
    for gone in excluded:
        of = groups.setdefault((gone.rule, _decided_text(gone)), [])
        of.append(_name(gone.endpoint_index, names))
    return [
        f"{_named(rule, rules.get(rule))} - excludes {', '.join(endpoints)}" + (f" ({by})" if by else "")
        for (rule, by), endpoints in groups.items()
    ]


def reason(decision: Decision, endpoints: Sequence[Endpoint]) -> str:
    """Return why the winner was chosen, in one line of ASCII for a response header.

    `endpoints` are the router's, by index.
    """
    candidates = decision.candidates
    winner = candidates[0]
    text = f"{_label(winner, endpoints)}: {_expected(winner)} expected"
    if decision.explored:
        text += "; explored, as it may be better than is known"
    elif len(candidates) == 1:
        text += "; the only candidate"
    else:
        text += _lead(decision, _label(candidates[1], endpoints))
    if not text.isascii() or not text.isprintable():
        text = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    return text


def _label(candidate: Candidate, endpoints: Sequence[Endpoint]) -> str:
    return endpoints[candidate.endpoint_index].host


def _expected(candidate: Candidate) -> str:
    dollars, seconds = candidate.dollars, candidate.seconds
    if dollars >= 0.001 or dollars == 0.0:
        money = f"${dollars:.4f}"
    else:
        money = f"${dollars:.7f}" if dollars >= 1e-7 else "under $0.0000001"
    return f"{money} and {seconds:.0f} s" if seconds >= 9.95 else f"{money} and {seconds:.2f} s"


def _lead(decision: Decision, next_name: str) -> str:
    winner, second = decision.candidates[0], decision.candidates[1]
    if winner.tier != second.tier:
        return f"; before the next ({next_name}) as asked for"
    if decision.ranking is Ranking.NEAREST:
        return f"; nobody keeps the limits, nearest of all, before the next ({next_name})"
    if decision.ranking is Ranking.THROUGHPUT:
        return f"; fastest, before the next ({next_name})"
    if decision.ranking is Ranking.LATENCY:
        return f"; first to begin, before the next ({next_name})"
    gap = second.score - winner.score
    if gap <= TIE * second.score:
        return f"; equal to the next ({next_name}) at {_value_of_time(decision)}"
    part = gap / second.score
    return f"; {part:.{0 if part >= 0.01 else 2}%} below the next ({next_name}) at {_value_of_time(decision)}"


def _value_of_time(decision: Decision) -> str:
    return f"${decision.usd_per_hour:.2f}/h"


def sentences(decision: Decision, names: Mapping[int, str]) -> list[str]:
    """Return one sentence for each candidate, in the order of trying, and one for each exclusion.

    `names` are those of the endpoints by what `endpoint_index` holds: the index, or after `unpack` the
    ledger's id. An endpoint without a name is called by its number.
    """
    told = []
    for place, candidate in enumerate(decision.candidates, start=1):
        why = " (explored, as it might be better than was known)" if decision.explored and place == 1 else ""
        told.append(
            f"{place}. {_name(candidate.endpoint_index, names)}{why}: {candidate_sentence(candidate)}"
        )
    told += [exclusion_sentence(gone, _name(gone.endpoint_index, names)) + "." for gone in decision.excluded]
    return told


def candidate_sentence(candidate: Candidate) -> str:
    """Return what was expected of one candidate, with the parts that its score is made of."""
    c = candidate
    cached = f", {c.cached_tokens:.0f} of them cached," if c.cached_tokens >= 0.5 else ""
    speed = f"{1.0 / c.tpot_s:.3g} tokens/s" if c.output_tokens else "no output"
    return (
        f"{_expected(c)} expected ({c.prompt_tokens:.0f} prompt tokens{cached} and {c.output_tokens:.0f} "
        f"output tokens; first after {c.ttft_s:.3g} s, then {speed}); {c.p_failure:.1%} of attempts fail, "
        f"known after {c.failure_s:.3g} s; score ${c.score:.6f} from {c.observations:.3g} observations."
    )


def _name(endpoint: int, names: Mapping[int, str]) -> str:
    return names.get(endpoint) or f"endpoint {endpoint}"
