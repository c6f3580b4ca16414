"""`entrepot why`: what was known when a request was sent, what was expected, and what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import exp, isnan
from typing import Annotated

import typer

from entrepot.catalog.kept_rules import kept_rules
from entrepot.cli.options import AsJson, DataDir, RequestId
from entrepot.cli.posted import find_told, key_names
from entrepot.cli.tables import (
    dollars,
    echo_wrapped,
    print_columns,
    seconds_text,
    speed_text,
    usd_column,
)
from entrepot.cli.why_refused import tell_refusal
from entrepot.domain.ids import request_id_text
from entrepot.domain.money import usd_text
from entrepot.domain.prices import Bill, Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import CorrectReason, Expire, ExpireReason, Settle, Void, VoidReason
from entrepot.ledger.history import AttemptHistory, RefusalHistory, RequestHistory
from entrepot.ledger.history_json import history_json, instant_text, outcome_text
from entrepot.routing.decision import Candidate, Decision, Ranking
from entrepot.routing.decision_json import decision_json, recomputed_json
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.rule import Rule

_MOST_SHOWN = 12  # candidates; the rest is in --json

_EXPECTATIONS = (
    *(
        "expected of",
        "$",
        "TTFT s",
        "tok/s",
        "out",
        "answer s",
        "fails",
        "in time",
        "score $",
        "vs 1st",
        "seen",
    ),
)
_RANKINGS = {
    Ranking.SCORE: "the least expected cost of the answer, dollars and waiting together",
    Ranking.PRICE: "the least expected price, as the request asked (sort: price)",
    Ranking.THROUGHPUT: "the most tokens per second, as the request asked (sort: throughput)",
    Ranking.LATENCY: "the least time to the first token, as the request asked (sort: latency)",
    Ranking.NEAREST: "nobody keeps the limits of the request; the one that comes nearest, as it asked",
}
_VOID_REASONS = {
    VoidReason.NOT_SENT: "nothing was sent, so it cost nothing",
    VoidReason.NO_CONNECTION: "the host was not reached, so it cost nothing",
    VoidReason.HOST_STATUS: "the host refused it, so it cost nothing",
    VoidReason.NO_CONTENT: "the host ended before the first content, so it cost nothing",
}
_EXPIRE_REASONS = {
    ExpireReason.GATEWAY_DIED: "the gateway died before it could settle",
    ExpireReason.NO_REPORT: "the host never said what it cost",
}
_CORRECT_REASONS = {
    CorrectReason.HOST_LOG: "the host's own log",
    CorrectReason.INVOICE: "the host's invoice",
    CorrectReason.LATE_SETTLE: "a late report",
    CorrectReason.OPERATOR: "the operator",
}


def why(
    data_dir: DataDir,
    request_id: RequestId,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Work the choice out again from what was stored; 1 if it differs."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell why a request went where it went, what was expected of it, and what happened."""
    history = find_told(data_dir, request_id)
    if isinstance(history, RefusalHistory):
        tell_refusal(data_dir, history, as_json=as_json)
        if replay:
            typer.echo("Rules refused it, so there is no choice to work out again.", err=True)
        _end(None, replay=replay)
        return
    decision = decision_of(history)
    rules = {} if decision is None else kept_rules(data_dir, decision.policy)
    names = history.endpoint_names
    again = recomputed_json(decision, names) if replay and decision is not None else None
    if as_json:
        told = None if decision is None else decision_json(decision, names, rules)
        shown = {**history_json(history), "decision": told}
        typer.echo(json.dumps(shown if again is None else {**shown, "replayed": again}, indent=2))
        _end(again, replay=replay)
        return
    typer.echo(_headline(history, key_names(data_dir)))
    if decision is None:
        typer.echo("\nThe decision was not kept.")
    else:
        _print_decision(decision, names, rules)
    if again is not None:
        echo_wrapped(_replayed_text(again))
    typer.echo("\nWhat happened")
    for attempt in history.attempts:
        _print_attempt(attempt)
    _print_outcome(history, decision)
    _end(again, replay=replay)


def _replayed_text(again: Mapping[str, object]) -> str:
    if again["same"] is None:
        return f"It cannot be worked out again: {again['problem']}."
    if again["same"]:
        return f"Worked out again from the stored inputs: the same winner, {again['winner']}."
    return (
        f"MISMATCH: worked out again from the stored inputs the winner is {again['winner']} (score "
        f"${again['score_usd']:.6f}), stored is {again['stored_winner']} (${again['stored_score_usd']:.6f}): "
        "the record was changed, or another version of the rule chose."
    )


def _end(again: Mapping[str, object] | None, *, replay: bool) -> None:
    """Exit with 1 when the choice was to be worked out again and was not found the same."""
    if replay and (again is None or not again["same"]):
        raise typer.Exit(1)


def decision_of(history: RequestHistory) -> Decision | None:
    """Return the stored decision with the rules that it names, or None; a damaged one gets a message."""
    try:
        return history.read_decision()
    except ValueError as error:
        typer.echo(f"the stored decision cannot be read: {error}", err=True)
        return None


def _headline(history: RequestHistory, keys: Mapping[int, str]) -> str:
    reserve = history.attempts[0].reserve
    key = f"key {history.key_id} {keys.get(history.key_id, '')}".rstrip()
    how = "streamed" if reserve.stream else "not streamed"
    answers = "".join(f"\nanswer id {answer_id}" for answer_id in history.answer_ids)
    return (
        f"{request_id_text(history.request_id)}{answers}\n"
        f"{instant_text(reserve.at_ns)}, {key}, {reserve.operation.value}, {how}, "
        f"{reserve.prompt_bytes:,} bytes"
    )


def _print_decision(decision: Decision, names: Mapping[int, str], rules: Mapping[str, Rule]) -> None:
    typer.echo(f"\nWhy: {_RANKINGS[decision.ranking]}.")
    typer.echo(f"An hour of waiting was worth ${decision.usd_per_hour:.2f}.", nl=not decision.explored)
    if decision.explored:
        typer.echo(f" The first one was tried for what it may be worth: {_doubt_text(decision.winner)}.")
    rows = [
        (f"{place}. {_name(candidate.endpoint_index, names)}", *_candidate_cells(candidate, decision))
        for place, candidate in enumerate(decision.candidates[:_MOST_SHOWN], start=1)
    ]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(_EXPECTATIONS)}
    if all(candidate.p_in_time == 1.0 for candidate in decision.candidates):
        del columns["in time"]
    print_columns(columns, left=_EXPECTATIONS[:1], optional=("seen", "vs 1st", "fails", "out", "answer s"))
    if len(decision.candidates) > _MOST_SHOWN:
        typer.echo(f"and {len(decision.candidates) - _MOST_SHOWN} more candidates")
    typer.echo("score: dollars and waiting, failures included; seen: observations behind it, faded by age")
    if decision.excluded:
        typer.echo("\nExcluded")
    for exclusion in decision.excluded:
        name = _name(exclusion.endpoint_index, names)
        echo_wrapped(exclusion_sentence(exclusion, name, rules), indent=2, hanging=2)
    if decision.policy:
        typer.echo(f"The rules in force were those of version {decision.policy}.")


def _doubt_text(candidate: Candidate) -> str:
    """Return between which scores a candidate lies, to a standard deviation either way."""
    unsure = candidate.score - candidate.steady_usd
    low, high = (candidate.steady_usd + unsure * exp(sign * candidate.doubt) for sign in (-1.0, 1.0))
    return f"its score may well be ${_dollars_text(low)} or ${_dollars_text(high)}"


def _candidate_cells(candidate: Candidate, decision: Decision) -> tuple[str, ...]:
    best = decision.winner.score
    over = "" if candidate is decision.winner or best <= 0.0 else f"{candidate.score / best - 1.0:+.0%}"
    return (
        _dollars_text(candidate.dollars),
        seconds_text(candidate.ttft_s),
        speed_text(candidate.tpot_s),
        f"{candidate.output_tokens:,.0f}",
        seconds_text(candidate.seconds),
        f"{candidate.p_failure:.1%}",
        f"{candidate.p_in_time:.0%}",
        _dollars_text(candidate.score),
        over,
        f"{candidate.observations:.0f}",
    )


def _name(endpoint_id: int, names: Mapping[int, str]) -> str:
    return names.get(endpoint_id) or f"endpoint {endpoint_id}"


def _dollars_text(dollars: float) -> str:
    """Return expected dollars: an estimate, so with few digits."""
    return f"{dollars:.6f}" if abs(dollars) < 1 else f"{dollars:.4f}"


def _print_attempt(attempt: AttemptHistory) -> None:
    reserve, closing = attempt.reserve, attempt.closing
    name = attempt.endpoint.name if attempt.endpoint else f"endpoint {reserve.endpoint_id}"
    simulated = " (simulated)" if attempt.endpoint and attempt.endpoint.simulated else ""
    echo_wrapped(f"{reserve.attempt}. {name}{simulated}: {_ending_text(attempt)}", indent=2, hanging=3)
    if isinstance(closing, Settle):
        echo_wrapped(_observed_text(closing), indent=5)
    if isinstance(closing, Settle) or attempt.corrections:
        _print_bill(attempt)
    for correction in attempt.corrections:
        typer.echo(
            f"     corrected by {_CORRECT_REASONS[correction.reason]} on {instant_text(correction.at_ns)}: "
            f"{dollars(correction.bill.total_nusd)}"
        )


def _ending_text(attempt: AttemptHistory) -> str:
    closing = attempt.closing
    if closing is None:
        return f"under way, ${usd_text(attempt.reserve.amount_nusd)} reserved"
    status = f" (HTTP {closing.http_status})" if closing.http_status else ""
    after = "" if isnan(closing.answer_s) else f" after {seconds_text(closing.answer_s)} s"
    text = outcome_text(closing.outcome) + status + after
    match closing:
        case Void():
            return f"{text}; {_VOID_REASONS[closing.reason]}"
        case Expire():
            unknown = attempt.unknown_nusd
            cost = f"unknown, at most ${usd_text(unknown)}" if unknown else "corrected since"
            return f"{text}; {_EXPIRE_REASONS[closing.reason]}: {cost}"
        case Settle():
            return text


def _observed_text(settle: Settle) -> str:
    """Return what was measured of an answer."""
    parts = [f"{settle.in_flight} of our requests in flight there"]
    if not isnan(settle.ttft_s):
        parts.append(f"first content after {seconds_text(settle.ttft_s)} s")
    if not isnan(settle.tpot_s):
        parts.append(f"then {speed_text(settle.tpot_s)} tokens/s")
    if settle.censored:
        parts.append("cut short, so that its length counts as at least")
    return ", ".join(parts)


def _print_bill(attempt: AttemptHistory) -> None:
    lines = _bill_lines(
        attempt.usage, attempt.bill, None if attempt.prices is None else attempt.prices.prices
    )
    lines = [line for line in lines if line[1] or line[3]]
    lines.append(("total", None, None, attempt.bill.total_nusd))
    columns = {
        "   ": ["" for _ in lines],
        "": [name for name, *_ in lines],
        "tokens": ["" if tokens is None else f"{tokens:,}" for _, tokens, _, _ in lines],
        "$ per million": ["" if price is None else usd_text(price) for _, _, price, _ in lines],
        "$": usd_column([amount for *_, amount in lines]),
    }
    print_columns(columns, left=("",))
    for note in _bill_notes(attempt):
        echo_wrapped(note, indent=5)


def _bill_lines(
    usage: Usage, bill: Bill, prices: Prices | None
) -> list[tuple[str, int | None, int | None, int]]:
    """Return what each line is called, its tokens, its unit price, and what it costs."""
    unit: tuple[int | None, ...] = (None,) * 6
    if prices is not None:
        unit = (
            prices.input_nusd_per_mtok,
            prices.cached_or_input_nusd_per_mtok,
            prices.write_or_input_nusd_per_mtok,
            prices.write_1h_or_write_nusd_per_mtok,
            prices.output_nusd_per_mtok,
            prices.reasoning_or_output_nusd_per_mtok,
        )
    return [
        ("prompt", usage.uncached_tokens, unit[0], bill.uncached_nusd),
        ("cached", usage.cached_tokens, unit[1], bill.cached_nusd),
        ("cache write", usage.cache_write_tokens, unit[2], bill.cache_write_nusd),
        ("cache write 1 h", usage.cache_write_1h_tokens, unit[3], bill.cache_write_1h_nusd),
        ("output", usage.spoken_tokens, unit[4], bill.output_nusd),
        ("reasoning", usage.reasoning_tokens, unit[5], bill.reasoning_nusd),
        ("request fee", None, None, bill.request_nusd),
    ]


def _bill_notes(attempt: AttemptHistory) -> list[str]:
    usage, prices = attempt.usage, attempt.prices
    notes = []
    if usage.estimated:
        notes.append("the host did not report these tokens: they are estimated, at the upper bound")
    if usage.contradictory:
        notes.append("the host's report contradicts itself: the dearer reading was taken")
    if prices is None:
        notes.append("no price is known for this endpoint")
    elif prices.source:
        checked = f", checked {prices.checked}" if prices.checked else ""
        label = f" ({prices.label})" if prices.label else ""
        notes.append(f"price version {attempt.price_version}{label}: {prices.source}{checked}")
    return notes


def _print_outcome(history: RequestHistory, decision: Decision | None) -> None:
    """Close with expectation and outcome side by side."""
    typer.echo()
    final = history.final.closing
    unknown = (
        f", and at most ${usd_text(history.unknown_nusd)} more is unknown" if history.unknown_nusd else ""
    )
    text = f"In all it cost ${usd_text(history.cost_nusd)}{unknown}"
    if final is not None and not isnan(final.answer_s):
        text += f"; it took {seconds_text(final.answer_s)} s"
    if decision is not None:
        expected = decision.winner
        text += f". Expected: ${_dollars_text(expected.dollars)} and {seconds_text(expected.seconds)} s"
    echo_wrapped(text + ".")
