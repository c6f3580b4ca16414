"""The packs that are shipped do what their titles say: one row per kind of endpoint and sender."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import replace

from entrepot.catalog.data_files import data_path
from entrepot.catalog.load_rules import load_pack, shipped_packs
from entrepot.domain.claims import NO_CLAIMS, Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.routing.policy import PolicySet, in_force_always
from entrepot.routing.rule import Status

DAY = date(2026, 11, 26)
PLAIN = Endpoint("openai/x@h", "openai/x", "h", prices=None, context_tokens=1)
US = replace(PLAIN, origin_country="US", owner_country="US", major_owners=frozenset(), country="US")
CN = replace(
    PLAIN,
    name="deepseek/deepseek-r1@deepseek",
    model="deepseek/deepseek-r1",
    origin_country="CN",
    owner_country="CN",
    major_owners=frozenset({"CN"}),
    region="CN",
)
R1_IN_US = replace(CN, owner_country="US", major_owners=frozenset(), region="us-east-1", country="US")
QWEN_IN_US = replace(R1_IN_US, model="qwen/qwen3-32b")
MISTRAL_IN_EU = replace(US, model="mistralai/m", origin_country="FR", owner_country="FR", country="FR")
CONTRACTOR, NO_CONTRACTOR = Claims(defence_contractor=True), Claims(defence_contractor=False)
AMERICAN, OTHER = Claims(us_person=True), Claims(us_person=False)
NDAA, S321, EU = "ndaa-fy2026-1532", "s321-2025-draft", "eu-only"
KEPT, HOME = "zero-retention", "no-china-hosting"

ROWS: list[tuple[str, Endpoint, Claims, bool]] = [
    (NDAA, US, CONTRACTOR, True),
    (NDAA, CN, CONTRACTOR, False),
    (NDAA, R1_IN_US, CONTRACTOR, False),  # US hosting of the weights does not help
    (NDAA, QWEN_IN_US, CONTRACTOR, False),
    (
        NDAA,
        replace(R1_IN_US, origin_country="US"),
        CONTRACTOR,
        False,
    ),  # it is DeepSeek's, whatever is declared
    (NDAA, replace(US, origin_country="RU"), CONTRACTOR, False),
    (NDAA, replace(US, origin_country="KP"), CONTRACTOR, False),
    (NDAA, replace(US, owner_country="IR"), CONTRACTOR, False),
    (NDAA, replace(US, origin_country=None), CONTRACTOR, False),
    (NDAA, CN, NO_CONTRACTOR, True),
    (NDAA, R1_IN_US, NO_CLAIMS, False),  # nobody said that it is no contractor's
    (NDAA, US, NO_CLAIMS, True),
    (S321, US, AMERICAN, True),
    (S321, R1_IN_US, AMERICAN, False),
    (S321, replace(US, owner_country="CN"), AMERICAN, False),
    (S321, replace(US, country="CN"), AMERICAN, False),
    (S321, CN, OTHER, True),
    (S321, MISTRAL_IN_EU, AMERICAN, True),
    (S321, R1_IN_US, NO_CLAIMS, False),
    (EU, MISTRAL_IN_EU, NO_CLAIMS, True),
    (EU, replace(R1_IN_US, region="eu-central-1"), NO_CLAIMS, True),
    (EU, replace(US, region="EU"), NO_CLAIMS, True),
    (EU, replace(US, region="NO"), NO_CLAIMS, True),
    (EU, replace(US, region="eu-west-2"), NO_CLAIMS, False),  # London
    (EU, replace(US, region="eu-central-2"), NO_CLAIMS, False),  # Zurich
    (EU, US, NO_CLAIMS, False),
    (EU, PLAIN, NO_CLAIMS, False),
    (KEPT, replace(US, zero_data_retention=True, trains_on_data=False), NO_CLAIMS, True),
    (KEPT, replace(US, zero_data_retention=True), NO_CLAIMS, False),
    (KEPT, replace(US, zero_data_retention=False, trains_on_data=False), NO_CLAIMS, False),
    (KEPT, US, NO_CLAIMS, False),
    (HOME, R1_IN_US, NO_CLAIMS, True),  # Chinese weights are fine
    (HOME, CN, NO_CLAIMS, False),
    (HOME, replace(R1_IN_US, owner_country="CN"), NO_CLAIMS, False),
    (HOME, replace(R1_IN_US, major_owners=frozenset({"US", "CN"})), NO_CLAIMS, False),
    (HOME, replace(R1_IN_US, major_owners=None), NO_CLAIMS, False),
    (HOME, replace(R1_IN_US, country="CN"), NO_CLAIMS, False),
    (HOME, replace(R1_IN_US, country=None), NO_CLAIMS, False),
]


@pytest.mark.parametrize(("pack", "endpoint", "claims", "allowed"), ROWS)
def test_a_pack_allows_and_denies(pack: str, endpoint: Endpoint, claims: Claims, *, allowed: bool) -> None:
    """As its title says, for senders of whom everything or nothing is declared."""
    rules = in_force_always(load_pack(data_path(f"policy/{pack}.toml")), DAY)
    assert (rules.denial(claims, endpoint) is None) is allowed


def test_every_pack_has_rows() -> None:
    """A pack that is added without a test fails here."""
    assert {pack for pack, *_ in ROWS} == set(shipped_packs())


@pytest.mark.parametrize("pack", shipped_packs())
def test_a_pack_is_dated_and_marked(pack: str) -> None:
    """Each says when it was checked, where it comes from, and that it is no legal advice."""
    text = data_path(f"policy/{pack}.toml").read_text(encoding="utf-8")
    assert "not legal advice" in text
    assert "checked = 2026-" in text
    assert "source = " in text


def test_the_draft_bill_is_not_enforced() -> None:
    """Unless the configuration asks for drafts."""
    path = data_path("policy/s321-2025-draft.toml")
    assert {rule.status for rule in load_pack(path)} == {Status.DRAFT}
    assert PolicySet(load_pack(path)).enforced == ()
    assert len(PolicySet(load_pack(path, enforces_drafts=True)).enforced) == 3


def test_what_may_bind_one_day_is_not_called_law() -> None:
    """Section 1532 names DeepSeek and High-Flyer; for all others of covered nations it waits for guidance."""
    rules = load_pack(data_path(f"policy/{NDAA}.toml"))
    assert {rule.id: rule.status for rule in rules} == {
        "ndaa-1532-deepseek": Status.LAW,
        "ndaa-1532-origin": Status.HOUSE,
        "ndaa-1532-host": Status.HOUSE,
    }
    assert {rule.valid_from for rule in rules} == {date(2026, 1, 17)}  # 30 days after the enactment
