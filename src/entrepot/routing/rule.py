"""Rules as values: what may be asked of whom, with which operators, and where a rule comes from.

Typed, and not an expression language: a rule that cannot be compared, shown, counted or proved monotone is
one that nobody dares to change. There is no *or*: alternatives are rules of their own, so that each has its
own basis and is named in its own refusal.
"""

from collections.abc import Mapping
from datetime import date
from enum import Enum, IntEnum, StrEnum

from msgspec import Struct

Value = tuple[str, ...] | int | bool


class Effect(StrEnum):
    """What a rule does: forbids what meets all of `when`, or requires `holds` of it."""

    FORBID = "forbid"
    REQUIRE = "require"


class Status(StrEnum):
    """Where a rule comes from. Drafts bind nobody: they are enforced only where the configuration says so."""

    LAW = "law"
    CONTRACT = "contract"
    HOUSE = "house"
    DRAFT = "draft"


class Attribute(IntEnum):
    """What a rule may ask of. The numbers are stored in the journal: never give one a new meaning."""

    TENANT_TAGS = 1
    TENANT_COUNTRY = 2
    TENANT_US_PERSON = 3
    TENANT_DEFENCE_CONTRACTOR = 4
    TENANT_SECTOR = 5
    REQUEST_DATA_CLASS = 10
    REQUEST_PURPOSE = 11
    MODEL_NAME = 20
    MODEL_DEVELOPER = 21
    MODEL_ORIGIN_COUNTRY = 22
    HOST_NAME = 30
    HOST_OWNER_COUNTRY = 31
    HOST_MAJOR_OWNERS = 32
    ENDPOINT_REGION = 40
    ENDPOINT_COUNTRY = 41
    ENDPOINT_QUANTIZATION = 42
    ENDPOINT_TRAINS_ON_DATA = 43
    ENDPOINT_RETENTION_DAYS = 44
    ENDPOINT_ZERO_DATA_RETENTION = 45
    ENDPOINT_BAA = 46
    ENDPOINT_ATTESTED_ON = 47
    ENDPOINT_EVIDENCE = 48

    @property
    def text(self) -> str:
        """Return the name as configurations write it: `host.owner_country`."""
        return self.name.lower().replace("_", ".", 1)

    @property
    def of_request(self) -> bool:
        """Return whether clients can add values to it."""
        return self in (Attribute.REQUEST_DATA_CLASS, Attribute.REQUEST_PURPOSE)


class Kind(Enum):
    """What values an attribute has."""

    TEXT = "a text"
    TEXTS = "any number of texts"
    ADDED = "any number of texts, to which clients may add"
    FLAG = "true or false"
    DAYS = "a number of days"
    QUANTIZATION = "a quantization"
    DATE = "a day"


class Operator(StrEnum):
    """How a value is compared. Texts are compared whatever their case.

    Of several values `in` wants any and `not_in` none among those of the rule; `outside` wants one that is
    not among them. `at_least` of a quantization goes by `QUANTIZATION_RANKS`. `declared` is never unknown.
    """

    IN = "in"
    NOT_IN = "not_in"
    OUTSIDE = "outside"
    IS = "is"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    NOT_OLDER_THAN_DAYS = "not_older_than_days"
    DECLARED = "declared"


QUANTIZATION_RANKS: Mapping[str, int] = {
    **dict.fromkeys(("int4", "nf4", "q4"), 1),
    **dict.fromkeys(("fp4", "mxfp4", "nvfp4"), 2),
    "fp6": 3,
    "int8": 4,
    "fp8": 5,
    **dict.fromkeys(("bf16", "fp16"), 6),
    "fp32": 7,
}
"""The order for floors: by bits, and of as many bits floats above integers, since their range is the wider
one. One convention among several: it says nothing of a model's quality. What is not listed counts as
undeclared."""

KINDS: Mapping[Attribute, Kind] = {
    Attribute.TENANT_TAGS: Kind.TEXTS,
    Attribute.TENANT_COUNTRY: Kind.TEXT,
    Attribute.TENANT_US_PERSON: Kind.FLAG,
    Attribute.TENANT_DEFENCE_CONTRACTOR: Kind.FLAG,
    Attribute.TENANT_SECTOR: Kind.TEXT,
    Attribute.REQUEST_DATA_CLASS: Kind.ADDED,
    Attribute.REQUEST_PURPOSE: Kind.ADDED,
    Attribute.MODEL_NAME: Kind.TEXT,
    Attribute.MODEL_DEVELOPER: Kind.TEXT,
    Attribute.MODEL_ORIGIN_COUNTRY: Kind.TEXT,
    Attribute.HOST_NAME: Kind.TEXT,
    Attribute.HOST_OWNER_COUNTRY: Kind.TEXT,
    Attribute.HOST_MAJOR_OWNERS: Kind.TEXTS,
    Attribute.ENDPOINT_REGION: Kind.TEXT,
    Attribute.ENDPOINT_COUNTRY: Kind.TEXT,
    Attribute.ENDPOINT_QUANTIZATION: Kind.QUANTIZATION,
    Attribute.ENDPOINT_TRAINS_ON_DATA: Kind.FLAG,
    Attribute.ENDPOINT_RETENTION_DAYS: Kind.DAYS,
    Attribute.ENDPOINT_ZERO_DATA_RETENTION: Kind.FLAG,
    Attribute.ENDPOINT_BAA: Kind.FLAG,
    Attribute.ENDPOINT_ATTESTED_ON: Kind.DATE,
    Attribute.ENDPOINT_EVIDENCE: Kind.TEXT,
}

OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    Kind.TEXT: (Operator.IN, Operator.NOT_IN, Operator.DECLARED),
    Kind.TEXTS: (Operator.IN, Operator.NOT_IN, Operator.DECLARED),
    Kind.ADDED: (Operator.IN, Operator.OUTSIDE),  # `not_in` would let a client's value end a rule
    Kind.FLAG: (Operator.IS, Operator.DECLARED),
    Kind.DAYS: (Operator.AT_LEAST, Operator.AT_MOST, Operator.DECLARED),
    Kind.QUANTIZATION: (Operator.IN, Operator.NOT_IN, Operator.AT_LEAST, Operator.DECLARED),
    Kind.DATE: (Operator.NOT_OLDER_THAN_DAYS, Operator.DECLARED),
}


class Condition(Struct, frozen=True):
    """One comparison. `value` is what the attribute is compared with: texts in order, whatever their case.

    Units: days.
    """

    attribute: Attribute
    operator: Operator
    value: Value

    @property
    def text(self) -> str:
        """Return the comparison in words: `host.owner_country in cn, ru`."""
        value = self.value
        if self.operator is Operator.NOT_OLDER_THAN_DAYS:
            return f"{self.attribute.text} not older than {value} days"
        shown = ", ".join(value) if isinstance(value, tuple) else str(value).lower()
        return f"{self.attribute.text} {self.operator.value.replace('_', ' ')} {shown}"


class Rule(Struct, frozen=True):
    """One rule. All of its conditions have to be met; `holds` are those that a `require` asks for.

    `id` names it for ever. `valid_from` is the first day on which it counts, `valid_until` the first on which
    it does not, both in UTC. `rule_set` is the pack that it came with; with `on_request` it counts only for
    requests that ask for that pack. A rule that is not `enforced` excludes nothing.
    """

    id: str
    effect: Effect
    status: Status
    basis: str
    sentence: str
    when: tuple[Condition, ...] = ()
    holds: tuple[Condition, ...] = ()
    valid_from: date | None = None
    valid_until: date | None = None
    enforced: bool = True
    rule_set: str = ""
    on_request: bool = False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return all comparisons, those of `when` first."""
        return self.when + self.holds

    @property
    def origin(self) -> str:
        """Return status and basis in words: `law: FY2026 NDAA section 1532`."""
        return f"{self.status.value}: {self.basis}"
