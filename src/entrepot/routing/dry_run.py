"""What rules would have made of a decision that was taken without them.

Only the candidates of the stored decision can be asked, in the order in which they stood: who was excluded
then for another reason stays so, and an endpoint that was added since cannot be chosen. That understates what
a rule leaves.
"""

from collections.abc import Mapping

from msgspec import Struct

from entrepot.domain.claims import Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.routing.decision import Candidate, Decision
from entrepot.routing.policy import Finding, RulesInForce, Verdict, judge


class Moved(Struct, frozen=True):
    """A decision whose winner is excluded: by which rules, and who would have been tried first instead.

    `to` is None when no candidate is left: the request would have been refused.
    """

    by: tuple[str, ...]
    to: Candidate | None


def moved(
    decision: Decision, endpoints: Mapping[int, Endpoint], claims: Claims, rules: RulesInForce
) -> Moved | None:
    """Return what becomes of a decision under these rules, None when its winner stays.

    `endpoints` are those of the candidates, by what `endpoint_index` holds.
    """
    by = denials(endpoints[decision.winner.endpoint_index], claims, rules)
    if not by:
        return None
    left = (
        candidate
        for candidate in decision.candidates[1:]
        if rules.denial(claims, endpoints[candidate.endpoint_index]) is None
    )
    return Moved(tuple(found.rule.id for found in by), next(left, None))


def denials(endpoint: Endpoint, claims: Claims, rules: RulesInForce) -> list[Finding]:
    """Return every rule that excludes the endpoint, in the order in which they are asked."""
    found = (judge(rule, claims, endpoint, rules.day) for rule in rules.rules)
    return [finding for finding in found if finding.verdict is Verdict.DENIES]
