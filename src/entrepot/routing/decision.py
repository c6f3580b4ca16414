"""The `Decision`: why a request goes where it goes, as a value that can be kept, told and replayed.

It rides in the request's reserve entry, so it is packed into fixed binary fields: a self-describing
format would spend more bytes on names than on numbers, and a row in a database of its own would not be
as durable as the money.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from math import nan
from struct import Struct as Layout
from struct import error as layout_error

from msgspec import Struct
from msgspec.structs import replace

from entrepot.domain.durations import SECONDS_PER_HOUR


class ExclusionReason(IntEnum):
    """The rule that excluded an endpoint, in the order in which they are asked.

    The numbers are stored in the journal: never give one a new meaning. The gaps are for rules to come.
    """

    OPERATION = 10
    ONLY = 20
    IGNORED = 21
    NOT_IN_ORDER = 22
    QUANTIZATION = 23
    DATA_COLLECTION = 24
    ZERO_DATA_RETENTION = 25
    PARAMETERS = 26
    QUALITY = 27
    RULE = 30
    NO_PRICE = 40
    INPUT_PRICE = 41
    OUTPUT_PRICE = 42
    REQUEST_PRICE = 43
    CONTEXT = 50
    MAX_OUTPUT = 51
    ANSWER_COST = 60
    TTFT = 61
    TOKENS_PER_S = 62
    ANSWER_TIME = 63
    IN_TIME = 64
    NO_FALLBACKS = 70


class Ranking(IntEnum):
    """By what the candidates of one tier are ordered; stored in the journal.

    `PRICE` is the score with a value of time of 0; `NEAREST` by how far the sender's limits are missed.
    """

    SCORE = 0
    PRICE = 1
    THROUGHPUT = 2
    LATENCY = 3
    NEAREST = 4


RULE_PREFIX = "rule:"
POLICY_PREFIX = "policy:"
"""What names of rules begin with in `Decision.rules`, and what the version of the whole set does."""


class Exclusion(Struct, frozen=True, gc=False):
    """An endpoint that the request may not use, the rule, what was seen and what was asked for.

    Units: those of the reason (tokens, seconds, USD, USD per million tokens); 0 where it has none. For
    `RULE`, `rule` names it and `limit` is the number of the attribute that decided, below 0 where nobody
    declared it. Stored is the place of the name among `Decision.rules`: after `unpack`, `seen` is that place
    and `rule` is empty until `with_rule_names` is told them.
    """

    endpoint_index: int
    reason: ExclusionReason
    seen: float = 0.0
    limit: float = 0.0
    rule: str = ""

    @property
    def name(self) -> str:
        """Return what excluded, as the ledger names it: `rule:ID`, or the reason."""
        is_rule = self.reason is ExclusionReason.RULE
        return f"{RULE_PREFIX}{self.rule}" if is_rule else self.reason.name.lower()


class Candidate(Struct, frozen=True, gc=False):
    """An eligible endpoint, with all that its place depends on.

    Units: USD, seconds, seconds per token, tokens. `output_tokens` are those of one choice; `prompt_tokens`
    and `cached_tokens` (inside them) are expected, `bound_prompt_tokens` cannot be passed (not stored: 0
    after `unpack`). `tier` comes before the score: lower ones are tried first. `observations` is the decayed
    count behind the forecast, `uses` how many attempts were ever started there. The score is per answer of
    use, of which there are `success_share`. Of it `steady_usd` is certain; the rest has a logarithm with the
    standard deviation `doubt`. `p_in_time` is the probability of an answer within the sender's limit (1
    without one), `miss` by what factor its limits are missed (0: kept).
    """

    endpoint_index: int
    tier: int
    dollars: float
    ttft_s: float
    tpot_s: float
    output_tokens: float
    p_failure: float
    dollars_wasted: float
    failure_s: float
    score: float
    prompt_tokens: float
    cached_tokens: float
    cached_nusd_per_mtok: int
    uses: int
    observations: float
    bound_prompt_tokens: int = 0
    success_share: float = 1.0
    steady_usd: float = 0.0
    doubt: float = 0.0
    p_in_time: float = 1.0
    miss: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the expected answer time."""
        return self.ttft_s + self.output_tokens * self.tpot_s


def rules_of(excluded: Sequence[Exclusion], policy: str) -> tuple[str, ...]:
    """Return what excluded endpoints, each once, by name and in order, with the version of the rules."""
    if not excluded and not policy:
        return ()
    names = {exclusion.name for exclusion in excluded}
    if policy:
        names.add(POLICY_PREFIX + policy)
    return tuple(sorted(names))


class Decision(Struct, frozen=True):
    """Where a request goes, and why.

    Units: `usd_per_s` is the value of time in USD per second of waiting. `candidates` stand in the order in
    which they are tried, the winner first. `draw` is the random number that was given, `allowance_usd` what
    exploring might cost on top of the best score. `policy` is the version of the rules that were in force,
    empty without any (not stored here, but with the names of rules).
    """

    usd_per_s: float
    draw: float
    allowance_usd: float
    candidates: tuple[Candidate, ...]
    excluded: tuple[Exclusion, ...] = ()
    explored: bool = False
    ranking: Ranking = Ranking.SCORE
    policy: str = ""

    @property
    def winner(self) -> Candidate:
        """Return the candidate that is tried first."""
        return self.candidates[0]

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the rules that excluded endpoints, each once, by name and in order.

        Among them `policy:` and the version of the rules, where there are any.
        """
        return rules_of(self.excluded, self.policy)

    @property
    def usd_per_hour(self) -> float:
        """Return the value of time that was used, in USD per hour."""
        return self.usd_per_s * SECONDS_PER_HOUR


FORMAT_VERSION = 2
_HEADER = Layout("<BBHHddd")
_CANDIDATE = Layout("<IHIfffqfffffffdfffff")
_EXCLUSION = Layout("<IBff")
_EXPLORED_FLAG = 1
_RANKING_SHIFT = 1
_MAX_U32 = 0xFFFF_FFFF

# What was written before: full precision, none of the fields after the score, and two random numbers.
_FIRST_VERSION = 1
_FIRST_CANDIDATE = Layout("<IHIfffqdddddddd")
_CANDIDATES = {_FIRST_VERSION: _FIRST_CANDIDATE, FORMAT_VERSION: _CANDIDATE}


def pack(decision: Decision, endpoint_ids: Sequence[int]) -> bytes:
    """Return the decision as bytes for the journal: under 600 for six candidates, 13 more per exclusion.

    `endpoint_ids[i]` is the ledger's id of the endpoint whose index is i. The scores, by which the order is
    made, are kept in full precision; what they are made of in seven digits.
    """
    flags = decision.ranking << _RANKING_SHIFT | decision.explored
    candidates, excluded = decision.candidates, decision.excluded
    parts = [
        _HEADER.pack(
            FORMAT_VERSION,
            flags,
            len(candidates),
            len(excluded),
            decision.usd_per_s,
            decision.draw,
            decision.allowance_usd,
        )
    ]
    put = _CANDIDATE.pack
    for c in candidates:
        parts.append(
            put(
                endpoint_ids[c.endpoint_index],
                c.tier,
                c.uses & _MAX_U32,
                c.observations,
                c.prompt_tokens,
                c.cached_tokens,
                c.cached_nusd_per_mtok,
                c.dollars,
                c.ttft_s,
                c.tpot_s,
                c.output_tokens,
                c.p_failure,
                c.dollars_wasted,
                c.failure_s,
                c.score,
                c.success_share,
                c.steady_usd,
                c.doubt,
                c.p_in_time,
                c.miss,
            )
        )
    parts += packed_exclusions(excluded, decision.policy, endpoint_ids)
    return b"".join(parts)


def packed_exclusions(
    excluded: Sequence[Exclusion], policy: str, endpoint_ids: Sequence[int]
) -> Iterator[bytes]:
    """Yield each exclusion; of one by a rule, `seen` is the place of its name among `rules_of` them."""
    rule = ExclusionReason.RULE
    is_ruled = any(e.reason is rule for e in excluded)
    places = {name: float(place) for place, name in enumerate(rules_of(excluded, policy))} if is_ruled else {}
    for e in excluded:
        seen = places[e.name] if e.reason is rule else e.seen
        yield _EXCLUSION.pack(endpoint_ids[e.endpoint_index], e.reason, seen, e.limit)


def unpacked_exclusions(data: bytes) -> tuple[Exclusion, ...]:
    """Return what `packed_exclusions` wrote; `endpoint_index` then holds the ledger's endpoint id.

    Raises: ValueError when the bytes are not whole exclusions of reasons that we know.
    """
    if len(data) % _EXCLUSION.size:
        raise ValueError(f"{len(data)} bytes are no whole exclusions of {_EXCLUSION.size} each")
    return tuple(
        Exclusion(endpoint_id, ExclusionReason(reason), seen, limit)
        for endpoint_id, reason, seen, limit in _EXCLUSION.iter_unpack(data)
    )


def with_rule_names(decision: Decision, names: Sequence[str]) -> Decision:
    """Return a decision that was unpacked, with its rules by name.

    `names` are what its `rules_id` stands for. An exclusion whose name is not among them stays as it was.
    """
    return replace(decision, excluded=named_exclusions(decision.excluded, names), policy=policy_of(names))


def named_exclusions(excluded: Sequence[Exclusion], names: Sequence[str]) -> tuple[Exclusion, ...]:
    """Return exclusions that were unpacked, with their rules by name where it is among `names`."""
    return tuple(
        replace(e, rule=names[int(e.seen)].removeprefix(RULE_PREFIX))
        if e.reason is ExclusionReason.RULE and 0 <= e.seen < len(names)
        else e
        for e in excluded
    )


def policy_of(names: Sequence[str]) -> str:
    """Return the version of the rules that stands among names of what excluded, empty without one."""
    found = next((name for name in names if name.startswith(POLICY_PREFIX)), POLICY_PREFIX)
    return found.removeprefix(POLICY_PREFIX)


def unpack(data: bytes) -> Decision:
    """Return the decision that `pack` wrote; `endpoint_index` then holds the ledger's endpoint id.

    A decision of the first version has no allowance (NaN).
    Raises: ValueError when the bytes are not a whole decision of a version that we know.
    """
    try:
        version, flags, n_candidates, n_excluded, usd_per_s, draw, allowance = _HEADER.unpack_from(data)
    except layout_error:
        raise ValueError(f"a stored decision of {len(data)} bytes has no header") from None
    layout = _CANDIDATES.get(version, _CANDIDATE)
    middle = _HEADER.size + n_candidates * layout.size
    expected = middle + n_excluded * _EXCLUSION.size
    if version not in _CANDIDATES or len(data) != expected or not n_candidates:
        raise ValueError(
            f"a stored decision has format {version} and {len(data)} bytes; "
            f"expected format {FORMAT_VERSION} and {expected} bytes for {n_candidates} candidates"
        )
    return Decision(
        usd_per_s=usd_per_s,
        draw=draw,
        allowance_usd=nan if version == _FIRST_VERSION else allowance,
        candidates=tuple(_candidate(row) for row in layout.iter_unpack(data[_HEADER.size : middle])),
        excluded=unpacked_exclusions(data[middle:]),
        explored=bool(flags & _EXPLORED_FLAG),
        ranking=Ranking(flags >> _RANKING_SHIFT),
    )


_CandidateRow = tuple[
    int, int, int, float, float, float, int, float, float, float, float, float, float, float, float,
    *tuple[float, ...],
]  # fmt: skip


def _candidate(row: _CandidateRow) -> Candidate:
    endpoint_id, tier, uses, observations, prompt_tokens, cached_tokens, cached_price, *of_score = row
    dollars, ttft_s, tpot_s, output_tokens, p_failure, dollars_wasted, failure_s, score, *later = of_score
    success_share, steady_usd, doubt, p_in_time, miss = later or (1.0, 0.0, 0.0, 1.0, 0.0)
    return Candidate(
        endpoint_index=endpoint_id,
        tier=tier,
        dollars=dollars,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        output_tokens=output_tokens,
        p_failure=p_failure,
        dollars_wasted=dollars_wasted,
        failure_s=failure_s,
        score=score,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        cached_nusd_per_mtok=cached_price,
        uses=uses,
        observations=observations,
        success_share=success_share,
        steady_usd=steady_usd,
        doubt=doubt,
        p_in_time=p_in_time,
        miss=miss,
    )
