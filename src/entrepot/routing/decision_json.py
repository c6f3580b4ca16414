"""A decision as values for JSON: what `/v1/generation`, `entrepot why --json` and exported evidence tell.

Written out field by field, since it is an interface that others read.
"""

from collections.abc import Mapping
from math import isnan

from entrepot.routing.decision import Candidate, Decision, Exclusion
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.forbidden import Grounds, facts_of
from entrepot.routing.rank import winner_of
from entrepot.routing.rule import Rule

Json = dict[str, object]


def decision_json(decision: Decision, names: Mapping[int, str], rules: Mapping[str, Rule]) -> Json:
    """Return a decision with the names of endpoints, and the sentences of those rules that are known.

    Units: as the names say; USD and seconds. `names` are by what `endpoint_index` holds.
    """
    return {
        "usd_per_hour": decision.usd_per_hour,
        "ranking": decision.ranking.name.lower(),
        "explored": decision.explored,
        "draw": decision.draw,
        "allowance_usd": None if isnan(decision.allowance_usd) else decision.allowance_usd,
        "policy": decision.policy or None,
        "candidates": [_candidate(candidate, decision, names) for candidate in decision.candidates],
        "excluded": [_exclusion(exclusion, names, rules) for exclusion in decision.excluded],
    }


def recomputed_json(decision: Decision, names: Mapping[int, str]) -> Json:
    """Return who ought to have won by the stored inputs alone, and whether it is who did.

    `same` is None where it cannot be told, with the reason as `problem`.
    """
    try:
        winner = winner_of(decision)
    except ValueError as error:
        return {"same": None, "problem": str(error)}
    stored = decision.winner
    return {
        "same": winner == stored,
        "winner": names.get(winner.endpoint_index),
        "score_usd": winner.score,
        "stored_winner": names.get(stored.endpoint_index),
        "stored_score_usd": stored.score,
    }


def grounds_json(grounds: Grounds, names: Mapping[int, str], rules: Mapping[str, Rule]) -> Json:
    """Return what a refusal by rules was decided by, as `decision_json` tells a decision."""
    return {
        "policy": grounds.policy or None,
        "models": list(grounds.models),
        "claims": facts_of(grounds.claims),
        "excluded": [_exclusion(exclusion, names, rules) for exclusion in grounds.excluded],
    }


def _candidate(candidate: Candidate, decision: Decision, names: Mapping[int, str]) -> Json:
    winner = decision.winner
    return {
        "endpoint": names.get(candidate.endpoint_index),
        "tier": candidate.tier,
        "dollars": candidate.dollars,
        "seconds": candidate.seconds,
        "ttft_s": candidate.ttft_s,
        "tpot_s": candidate.tpot_s,
        "prompt_tokens": candidate.prompt_tokens,
        "cached_tokens": candidate.cached_tokens,
        "output_tokens": candidate.output_tokens,
        "p_failure": candidate.p_failure,
        "dollars_wasted": candidate.dollars_wasted,
        "failure_s": candidate.failure_s,
        "success_share": candidate.success_share,
        "p_in_time": candidate.p_in_time,
        "misses_limits_by": candidate.miss or None,
        "score": candidate.score,
        "score_over_winner": candidate.score / winner.score if winner.score > 0.0 else None,
        "doubt": candidate.doubt,
        "observations": candidate.observations,
        "uses": candidate.uses,
    }


def _exclusion(exclusion: Exclusion, names: Mapping[int, str], rules: Mapping[str, Rule]) -> Json:
    name = names.get(exclusion.endpoint_index)
    return {
        "endpoint": name,
        "reason": exclusion.reason.name.lower(),
        "rule": exclusion.rule or None,
        "seen": exclusion.seen,
        "limit": exclusion.limit,
        "sentence": exclusion_sentence(exclusion, name or f"endpoint {exclusion.endpoint_index}", rules),
    }
