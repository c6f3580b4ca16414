"""Which rules keep which endpoint from which request, and what decided.

Conditions have three values. What a rule needs and nobody declared is *unknown*, and unknown excludes: of a
`forbid` whose other conditions are met, of a `require` that applies. A rule is out of play only when one of
its conditions is known to be false. So an undeclared attribute of the *sender* makes a rule apply to it: the
answer that protects is the one that keeps data at home. Two values with "undeclared is false" would be
shorter, and would fail open at the first key that was made in a hurry.

Rules only exclude, so none can bring back what another excluded (forbid wins). What a client adds
(`Claims.added_…`, `rule_sets`) can make conditions true and never false: see `_of_added`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache
from hashlib import sha256

import msgspec
from msgspec import Struct

from entrepot.domain.claims import NO_CLAIMS, Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.routing.rule import (
    QUANTIZATION_RANKS,
    Attribute,
    Condition,
    Effect,
    Operator,
    Rule,
    Status,
    Value,
)

DIGEST_DIGITS = 12
NS_PER_DAY = 86_400 * 10**9
_EPOCH = date(1970, 1, 1)
_COUNTRY_LETTERS = 2
_NO_COUNTRIES = ("EU", "UK")  # two letters that are no code of a country in ISO 3166-1

_NOBODY = Endpoint("", "", "", prices=None, context_tokens=0)

Fact = str | bool | int | date | frozenset[str] | None


class Verdict(Enum):
    """What one rule says of one endpoint for one kind of request."""

    APPLIES_NOT = "does not apply"
    ALLOWS = "allows"
    DENIES = "denies"


class Finding(Struct, frozen=True):
    """A verdict with the condition that decided; `is_known` is false where nobody declared its attribute.

    `assumed` are the conditions of the sender and the request that count as met since nobody declared them.
    """

    rule: Rule
    verdict: Verdict
    by: Condition | None = None
    is_known: bool = True
    assumed: tuple[Condition, ...] = ()


class RulesInForce(Struct, frozen=True):
    """The rules that count on one day, in the order in which they are asked; `digest` names the whole set."""

    rules: tuple[Rule, ...] = ()
    day: date = _EPOCH
    digest: str = ""

    def applying(self, claims: Claims) -> "RulesInForce":
        """Return those that can exclude anybody for these facts of the sender, to ask of many endpoints."""
        rules = tuple(rule for rule in self.rules if _may_apply(rule, claims, self.day))
        return RulesInForce(rules, self.day, self.digest)

    def denial(self, claims: Claims, endpoint: Endpoint) -> Finding | None:
        """Return the first rule that excludes the endpoint, or None."""
        for rule in self.rules:
            found = judge(rule, claims, endpoint, self.day)
            if found.verdict is Verdict.DENIES:
                return found
        return None

    def by_id(self) -> Mapping[str, Rule]:
        """Return the rules by their names."""
        return {rule.id: rule for rule in self.rules}


NO_RULES = RulesInForce()


class PolicySet:
    """All rules of a configuration, whenever they count; `enforced` are in the order in which they are asked.

    `data_classes` and `purposes` are the words that they know of those, `rule_sets` the packs that a request
    may ask for, `digest` is the version of what is enforced.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self.enforced = tuple(sorted((rule for rule in self.rules if rule.enforced), key=_order))
        conditions = [condition for rule in self.enforced for condition in rule.conditions]
        self._asked = {condition.attribute for condition in conditions}
        self._tags = _texts_of(conditions, Attribute.TENANT_TAGS)
        self.data_classes = _texts_of(conditions, Attribute.REQUEST_DATA_CLASS)
        self.purposes = _texts_of(conditions, Attribute.REQUEST_PURPOSE)
        self.rule_sets = frozenset(rule.rule_set for rule in self.enforced if rule.on_request)
        self.digest = digest_of(self.enforced)

    def on(self, now_ns: int) -> RulesInForce:
        """Return the rules that count at an instant. Units: Unix nanoseconds."""
        day = day_of(now_ns)
        valid = tuple(rule for rule in self.enforced if is_valid(rule, day))
        return RulesInForce(valid, day, self.digest if self.enforced else "")

    def changes_after(self, now_ns: int) -> int | None:
        """Return the next instant at which a decision may change although nobody changed anything, or None.

        A rule begins or ends, or an attestation becomes a day older. Units: Unix nanoseconds.
        """
        today = day_of(now_ns)
        days = {
            day for rule in self.enforced for day in (rule.valid_from, rule.valid_until) if day is not None
        }
        if Attribute.ENDPOINT_ATTESTED_ON in self._asked:
            days.add(today + timedelta(days=1))
        following = [day for day in days if day > today]
        return (min(following) - _EPOCH).days * NS_PER_DAY if following else None

    def relevant(self, claims: Claims) -> Claims:
        """Return the facts that some rule asks of: requests that differ in others are of one kind."""
        asked = self._asked
        if not asked:
            return NO_CLAIMS
        classes, purposes = Attribute.REQUEST_DATA_CLASS in asked, Attribute.REQUEST_PURPOSE in asked
        return Claims(
            country=claims.country if Attribute.TENANT_COUNTRY in asked else None,
            us_person=claims.us_person if Attribute.TENANT_US_PERSON in asked else None,
            defence_contractor=(
                claims.defence_contractor if Attribute.TENANT_DEFENCE_CONTRACTOR in asked else None
            ),
            sector=claims.sector if Attribute.TENANT_SECTOR in asked else None,
            tags=frozenset(tag for tag in claims.tags if tag.casefold() in self._tags),
            data_classes=claims.data_classes if classes else None,
            purposes=claims.purposes if purposes else None,
            added_data_classes=claims.added_data_classes if classes else frozenset(),
            added_purposes=claims.added_purposes if purposes else frozenset(),
            rule_sets=claims.rule_sets & self.rule_sets,
        )


def digest_of(rules: Iterable[Rule]) -> str:
    """Return the version of a set of rules: the first digits of a SHA-256 of all that they say."""
    ordered = sorted(rules, key=lambda rule: rule.id)
    return sha256(msgspec.json.encode(ordered)).hexdigest()[:DIGEST_DIGITS]


def in_force_always(rules: Iterable[Rule], day: date) -> RulesInForce:
    """Return the rules as if all were in force on a day, drafts and later ones too: for a dry run."""
    ordered = tuple(sorted(rules, key=_order))
    return RulesInForce(ordered, day, digest_of(ordered))


def undeclared(rules: Iterable[Rule], endpoint: Endpoint) -> tuple[Attribute, ...]:
    """Return the attributes of an endpoint that some rule needs and nobody declared."""
    needed = {
        condition.attribute
        for rule in rules
        for condition in rule.conditions
        if condition.attribute in _OF_ENDPOINT and condition.operator is not Operator.DECLARED
    }
    return tuple(sorted(of for of in needed if _OF_ENDPOINT[of](endpoint) is None))


def is_valid(rule: Rule, day: date) -> bool:
    """Return whether the day is between the rule's first and its last."""
    begun = rule.valid_from is None or rule.valid_from <= day
    return begun and (rule.valid_until is None or day < rule.valid_until)


def day_of(now_ns: int) -> date:
    """Return the day in UTC that holds an instant. Units: Unix nanoseconds."""
    return _EPOCH + timedelta(days=now_ns // NS_PER_DAY)


def judge(rule: Rule, claims: Claims, endpoint: Endpoint, day: date) -> Finding:
    """Return what a rule says of an endpoint for these facts, whether it is in force or not."""
    if rule.on_request and rule.rule_set not in claims.rule_sets:
        return Finding(rule, Verdict.APPLIES_NOT)
    unknown: list[Condition] = []
    for condition in rule.when:
        met = is_met(condition, claims, endpoint, day)
        if met is False:
            return Finding(rule, Verdict.APPLIES_NOT, condition)
        if met is None:
            unknown.append(condition)
    assumed = tuple(condition for condition in unknown if condition.attribute < Attribute.MODEL_NAME)
    if rule.effect is Effect.FORBID:
        known = max(rule.when, key=_attribute, default=None)  # what is most the endpoint's tells most
        by = unknown[0] if unknown else known
        return Finding(rule, Verdict.DENIES, by, not unknown, assumed)
    missing: Condition | None = None
    for condition in rule.holds:
        met = is_met(condition, claims, endpoint, day)
        if met is False:
            return Finding(rule, Verdict.DENIES, condition, assumed=assumed)
        if met is None and missing is None:
            missing = condition
    if missing is not None:
        return Finding(rule, Verdict.DENIES, missing, is_known=False, assumed=assumed)
    return Finding(rule, Verdict.ALLOWS, rule.holds[-1] if rule.holds else None, assumed=assumed)


def _may_apply(rule: Rule, claims: Claims, day: date) -> bool:
    if rule.on_request and rule.rule_set not in claims.rule_sets:
        return False
    return all(
        condition.attribute >= Attribute.MODEL_NAME or is_met(condition, claims, _NOBODY, day) is not False
        for condition in rule.when
    )


def is_met(condition: Condition, claims: Claims, endpoint: Endpoint, day: date) -> bool | None:
    """Return whether a condition is met, None when nobody declared what it needs."""
    attribute = condition.attribute
    if attribute is Attribute.REQUEST_DATA_CLASS:
        return _of_added(condition, claims.data_classes, claims.added_data_classes)
    if attribute is Attribute.REQUEST_PURPOSE:
        return _of_added(condition, claims.purposes, claims.added_purposes)
    fact = fact_of(attribute, claims, endpoint)
    operator, value = condition.operator, condition.value
    if operator is Operator.DECLARED:
        return (fact is not None) is value
    if fact is None:
        return None
    return _compared(operator, fact, value, day)


def fact_of(attribute: Attribute, claims: Claims, endpoint: Endpoint) -> Fact:
    """Return what is declared of an attribute that is not the request's, None when nothing is."""
    of_sender = _OF_SENDER.get(attribute)
    return _OF_ENDPOINT[attribute](endpoint) if of_sender is None else of_sender(claims)


def _of_added(condition: Condition, declared: frozenset[str] | None, added: frozenset[str]) -> bool | None:
    """Compare what a client may add to: one value more can make this true, and never false or unknown.

    Whether it is known depends on the key alone; else a client could declare its way out of a rule.
    """
    wanted = condition.value
    assert isinstance(wanted, tuple)
    values = added if declared is None else declared | added
    is_in = condition.operator is Operator.IN
    texts = _folded(wanted)
    if any((value.casefold() in texts) is is_in for value in values):
        return True
    return None if declared is None else False


def _compared(operator: Operator, fact: Fact, value: Value, day: date) -> bool | None:
    match operator, fact, value:
        case Operator.IN | Operator.NOT_IN, str() | frozenset(), tuple():
            wanted = _folded(value)
            if isinstance(fact, str):
                return (fact.casefold() in wanted) is (operator is Operator.IN)
            return any(one.casefold() in wanted for one in fact) is (operator is Operator.IN)
        case Operator.AT_LEAST, str(), (str(floor),):
            rank, least = QUANTIZATION_RANKS.get(fact.casefold()), QUANTIZATION_RANKS.get(floor)
            return None if rank is None or least is None else rank >= least
        case Operator.IS, bool(), bool():
            return fact is value
        case Operator.AT_LEAST, int(), int():
            return fact >= value
        case Operator.AT_MOST, int(), int():
            return fact <= value
        case Operator.NOT_OLDER_THAN_DAYS, date(), int():
            return 0 <= (day - fact).days <= value  # one of a day to come attests nothing yet
        case _:
            return None  # a comparison that means nothing excludes, as what is unknown does


@lru_cache(maxsize=1024)  # of the texts of rules, which are asked of every endpoint
def _folded(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(text.casefold() for text in texts)


_STATUSES = tuple(Status)


def _order(rule: Rule) -> tuple[bool, int]:
    """Forbid before require, law before contract before house before draft; then as they were written."""
    return (rule.effect is Effect.REQUIRE, _STATUSES.index(rule.status))


def _attribute(condition: Condition) -> Attribute:
    return condition.attribute


def _texts_of(conditions: Iterable[Condition], attribute: Attribute) -> frozenset[str]:
    values = (of.value for of in conditions if of.attribute is attribute)
    return frozenset(text.casefold() for value in values if isinstance(value, tuple) for text in value)


def _region(endpoint: Endpoint) -> Fact:
    return endpoint.country if endpoint.region is None else endpoint.region


def _country(endpoint: Endpoint) -> Fact:
    """Return where requests are processed: also a region that is a country, and of no other is it known."""
    region = (endpoint.region or "").upper()
    is_country = len(region) == _COUNTRY_LETTERS and region.isalpha() and region not in _NO_COUNTRIES
    return region if endpoint.country is None and is_country else endpoint.country


def _retention_days(endpoint: Endpoint) -> Fact:
    return 0 if endpoint.zero_data_retention and endpoint.retention_days is None else endpoint.retention_days


_OF_SENDER: Mapping[Attribute, Callable[[Claims], Fact]] = {
    Attribute.TENANT_TAGS: lambda claims: claims.tags,
    Attribute.TENANT_COUNTRY: lambda claims: claims.country,
    Attribute.TENANT_US_PERSON: lambda claims: claims.us_person,
    Attribute.TENANT_DEFENCE_CONTRACTOR: lambda claims: claims.defence_contractor,
    Attribute.TENANT_SECTOR: lambda claims: claims.sector,
}
_OF_ENDPOINT: Mapping[Attribute, Callable[[Endpoint], Fact]] = {
    Attribute.MODEL_NAME: lambda endpoint: endpoint.model,
    Attribute.MODEL_DEVELOPER: lambda endpoint: endpoint.developer,
    Attribute.MODEL_ORIGIN_COUNTRY: lambda endpoint: endpoint.origin_country,
    Attribute.HOST_NAME: lambda endpoint: endpoint.host,
    Attribute.HOST_OWNER_COUNTRY: lambda endpoint: endpoint.owner_country,
    Attribute.HOST_MAJOR_OWNERS: lambda endpoint: endpoint.major_owners,
    Attribute.ENDPOINT_REGION: _region,
    Attribute.ENDPOINT_COUNTRY: _country,
    Attribute.ENDPOINT_QUANTIZATION: lambda endpoint: endpoint.quantization,
    Attribute.ENDPOINT_TRAINS_ON_DATA: lambda endpoint: endpoint.trains_on_data,
    Attribute.ENDPOINT_RETENTION_DAYS: _retention_days,
    Attribute.ENDPOINT_ZERO_DATA_RETENTION: lambda endpoint: endpoint.zero_data_retention,
    Attribute.ENDPOINT_BAA: lambda endpoint: endpoint.baa,
    Attribute.ENDPOINT_ATTESTED_ON: lambda endpoint: endpoint.attested_on,
    Attribute.ENDPOINT_EVIDENCE: lambda endpoint: endpoint.evidence,
}
