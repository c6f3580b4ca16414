"""Models, and endpoints that serve them: the facts that routing decides by.

How an endpoint is reached (address, credentials, timeouts) is not here: routing must not be able to
depend on it. Those settings are in `catalog.settings`.
"""

from datetime import date
from enum import StrEnum

from msgspec import Struct

from entrepot.domain.estimate import Estimate
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import Tariff


class Operation(StrEnum):
    """What a request asks for; the value is its path below /v1."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"


class Model(Struct, frozen=True):
    """Weights with a name `developer/name`.

    Units: `verbosity_tokens` output tokens per answer (reasoning included), `bytes_per_token` bytes of
    the request body per prompt token; both are priors until measured. `success_share` is the share of its
    answers that are of use, above 0 and at most 1.
    """

    name: str
    origin_country: str | None = None
    verbosity_tokens: Estimate | None = None
    bytes_per_token: Estimate | None = None
    success_share: Estimate | None = None


class Endpoint(Struct, frozen=True):
    """One model at one host. `name` is `model@host`.

    Units: tokens, seconds, tokens/s/user. None means that nobody declared it; rules and preferences
    read an undeclared attribute as the answer that protects the sender. `prices` is the plain card,
    or the one that the choice goes by at present; `tariff` has all of them where there is more than one.
    `max_image_tokens` and its like bound what one image, recording or file of a request can cost: no hard
    budget can hold one without it.

    `owner_country` is that of the company, `major_owners` are those of everybody who holds 20 % of it or
    more, and `country` is where requests are processed: codes of ISO 3166-1. `baa`: there is a business
    associate agreement (HIPAA) with the host; `attested_on` is the day of its last attestation, `evidence`
    where that can be read.
    """

    name: str
    model: str
    host: str
    prices: Prices | None
    context_tokens: int
    operations: frozenset[Operation] = frozenset({Operation.CHAT})
    max_output_tokens: int | None = None
    max_image_tokens: int | None = None
    max_audio_tokens: int | None = None
    max_file_tokens: int | None = None
    owner_country: str | None = None
    origin_country: str | None = None
    region: str | None = None
    quantization: str | None = None
    trains_on_data: bool | None = None
    zero_data_retention: bool | None = None
    retention_days: int | None = None
    unsupported_parameters: frozenset[str] = frozenset()
    declared_ttft_s: Estimate | None = None
    declared_tokens_per_s: Estimate | None = None
    simulated: bool = False
    tariff: Tariff | None = None
    country: str | None = None
    major_owners: frozenset[str] | None = None
    baa: bool | None = None
    attested_on: date | None = None
    evidence: str | None = None

    @property
    def developer(self) -> str:
        """Return who made the weights: what stands before the slash in the name of the model."""
        return self.model.partition("/")[0]
