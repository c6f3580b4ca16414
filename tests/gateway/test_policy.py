"""Rules in the gateway: what a key declares, what a header adds, who is never tried, what is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time_ns

import pytest
from msgspec.structs import replace

from entrepot.catalog.kept_rules import keep_rules
from entrepot.catalog.settings import EndpointSettings, PolicySettings
from entrepot.domain.claims import KeyClaims
from entrepot.ledger.history import account
from entrepot.ledger.keys.log import assign_key, create_tag, declare_key
from entrepot.routing.decision import unpack, with_rule_names
from entrepot.routing.policy import PolicySet
from entrepot.routing.rule import Attribute, Condition, Effect, Operator, Rule, Status
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import completion, plain
from tests.cli.command_line import entrepot
from tests.gateway.scene import chat, scene, until

IN, IS = Operator.IN, Operator.IS
NO_CN = Rule(
    "no-cn",
    Effect.FORBID,
    Status.HOUSE,
    "a decision",
    "prompts do not go to China",
    when=(Condition(Attribute.HOST_OWNER_COUNTRY, IN, ("CN",)),),
)
PHI = Rule(
    "phi-baa",
    Effect.REQUIRE,
    Status.LAW,
    "45 CFR 164.502(e)",
    "health data needs an agreement",
    when=(Condition(Attribute.REQUEST_DATA_CLASS, IN, ("phi",)),),
    holds=(Condition(Attribute.ENDPOINT_BAA, IS, value=True),),
)
STRICT = replace(
    NO_CN,
    id="only-b",
    when=(Condition(Attribute.HOST_NAME, Operator.NOT_IN, ("b",)),),
    rule_set="only-b",
    on_request=True,
)
PUBLIC = KeyClaims(data_classes=("public",))
ANSWER = plain(completion("hello", 3, 2))
FAILS = plain({"error": {"message": "no"}}, status=500)


def rules(*wanted: Rule, **fields: object) -> PolicySettings:
    """Return these rules as a configuration has them."""
    return replace(PolicySettings(rules=wanted), **fields)


def owned(entry: EndpointSettings) -> EndpointSettings:
    """Return the endpoint of host a in China, of b in the US with an agreement, of c in the US without."""
    host = entry.host.name
    stated = replace(entry.endpoint, owner_country="CN" if host == "a" else "US", baa=host == "b")
    return replace(entry, endpoint=stated)


async def test_an_excluded_endpoint_is_not_even_tried_as_a_fallback(tmp_path: Path) -> None:
    """The cheapest host is excluded; when the others fail, the request fails."""
    async with scene(tmp_path, hosts=3, change=owned, policy=rules(NO_CN)) as stage:
        for host in stage.hosts:
            host.script(FAILS)
        answer = await stage.here.post(chat())
        assert answer.status == 502
        assert [len(host.received) for host in stage.hosts] == [0, 1, 1]


async def test_a_refusal_is_a_403_that_names_the_rule(tmp_path: Path) -> None:
    """Nothing is sent, nothing is booked, and the client reads which rule it was and whose."""
    async with scene(tmp_path, hosts=1, change=owned, policy=rules(NO_CN)) as stage:
        answer = await stage.here.post(chat())
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert (answer.status, error["type"], error["code"]) == (403, "permission_error", "policy_forbidden")
        assert "the rule no-cn (house: a decision): prompts do not go to China" in error["message"]
        assert stage.a.received == []
        assert stage.reserves() == []


@pytest.mark.parametrize(
    ("claims", "headers", "served_by"),
    [
        (PUBLIC, "", "a"),
        (PUBLIC, "x-entrepot-data-class: phi\r\n", "b"),
        (PUBLIC, "x-entrepot-data-class: public\r\nX-Entrepot-Data-Class: PHI\r\n", "b"),
        (PUBLIC, "x-entrepot-rules: only-b\r\n", "b"),
        (KeyClaims(data_classes=("phi",)), "", "b"),
        (KeyClaims(data_classes=("phi",)), "x-entrepot-data-class: public\r\n", "b"),
        (KeyClaims(), "", "b"),  # nobody declared that it is not health data
        (KeyClaims(), "x-entrepot-data-class: public\r\n", "b"),
    ],
)
async def test_a_header_adds_and_never_takes_away(
    tmp_path: Path, claims: KeyClaims, headers: str, served_by: str
) -> None:
    """Health data goes to the host with an agreement; no header makes it anything else."""
    policy = rules(PHI, STRICT, data_classes=("public",))
    async with scene(tmp_path, hosts=3, change=owned, policy=policy, claims=claims) as stage:
        for host in stage.hosts:
            host.script(ANSWER)
        answer = await stage.here.post(chat(), headers=headers)
        assert answer.headers["x-entrepot-endpoint"] == f"{MODEL}@{served_by}"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ("x-entrepot-data-class: ph\r\n", "names 'ph', which no rule here knows; did you mean phi?"),
        ("x-entrepot-purpose: sales\r\n", "known here: none"),
        ("x-entrepot-rules: zero-retention\r\n", "known here: only-b"),
        (f"x-entrepot-data-class: {','.join(['phi'] * 17)}\r\n", "send at most 16"),
        (f"x-entrepot-data-class: {'x' * 257}\r\n", "has 257 bytes"),
        ("x-entrepot-data-class: phi\r\n" * 9, "came 9 times"),
    ],
)
async def test_a_word_that_no_rule_knows_is_refused(tmp_path: Path, headers: str, words: str) -> None:
    """Who asks for protection and spells it wrong must hear of it."""
    async with scene(tmp_path, hosts=1, policy=rules(PHI, STRICT), claims=PUBLIC) as stage:
        answer = await stage.here.post(chat(), headers=headers)
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert (answer.status, error["param"]) == (400, headers.partition(":")[0])
        assert words in error["message"]


async def test_without_any_rule_asking_for_protection_is_refused_too(tmp_path: Path) -> None:
    """A header that nothing here obeys must not look as if it were obeyed."""
    async with scene(tmp_path, hosts=1) as stage:
        assert (await stage.here.post(chat(), headers="x-entrepot-data-class: phi\r\n")).status == 400
        stage.a.script(ANSWER)
        assert (await stage.here.post(chat())).status == 200


async def test_what_is_declared_of_a_key_has_effect_at_once(tmp_path: Path) -> None:
    """A running gateway follows the log of keys; tags of the key are attributes too."""
    tagged = replace(
        NO_CN, id="not-for-eu", when=(Condition(Attribute.TENANT_TAGS, IN, ("eu",)), *NO_CN.when)
    )
    async with scene(tmp_path, change=owned, policy=rules(PHI, tagged), claims=PUBLIC) as stage:
        gateway = stage.here.gateway
        for host in stage.hosts:
            for _ in range(3):
                host.script(ANSWER)
        assert (await stage.here.post(chat())).headers["x-entrepot-endpoint"] == f"{MODEL}@a"
        create_tag(tmp_path, "eu", time_ns())
        version = gateway.ledger.keys.version
        assign_key(tmp_path, "test", None, ["eu"], time_ns())
        await until(lambda: gateway.ledger.keys.version > version + 1)
        assert (await stage.here.post(chat())).headers["x-entrepot-endpoint"] == f"{MODEL}@b"
        assign_key(tmp_path, "test", None, [], time_ns())
        declare_key(tmp_path, "test", lambda _: KeyClaims(data_classes=("phi",)), time_ns())
        await until(lambda: gateway.ledger.keys.version > version + 3)
        assert (await stage.here.post(chat())).headers["x-entrepot-endpoint"] == f"{MODEL}@b"


async def test_a_rule_begins_and_ends_with_its_day(tmp_path: Path) -> None:
    """The request after midnight goes by the rules of the new day, without a restart."""
    today = datetime.now(UTC).date()
    tomorrow = replace(NO_CN, valid_from=today + timedelta(days=1), valid_until=today + timedelta(days=2))
    async with scene(tmp_path, change=owned, policy=rules(tomorrow)) as stage:
        gateway, day_ns = stage.here.gateway, 86_400 * 10**9
        found = []
        for later_ns in (0, day_ns, 2 * day_ns):
            gateway.rules.obey(time_ns() + later_ns)
            found.append([rule.id for rule in gateway.router.rules.rules])
        assert found == [[], ["no-cn"], []]
        gateway.rules.policy = PolicySet([replace(NO_CN, valid_from=today)])
        gateway.rules.obey(time_ns() - day_ns)  # as if the last request had come before midnight
        assert gateway.router.rules.rules == ()
        stage.b.script(ANSWER)
        assert (await stage.here.post(chat())).headers["x-entrepot-endpoint"] == f"{MODEL}@b"
        assert [rule.id for rule in gateway.router.rules.rules] == ["no-cn"]


async def test_the_rules_of_a_decision_are_found_again(tmp_path: Path) -> None:
    """By the journal alone: which rules excluded whom, and which version of the rules it was."""
    async with scene(tmp_path, hosts=3, change=owned, policy=rules(NO_CN, PHI)) as stage:
        keep_rules(tmp_path, stage.here.gateway.rules.policy)
        stage.b.script(ANSWER)
        answer = await stage.here.post(chat())
        await stage.ended()
        version = stage.here.gateway.rules.policy.digest
        history = account(tmp_path, answer.headers["x-request-id"])
    assert history is not None
    assert history.rules == (f"policy:{version}", "rule:no-cn", "rule:phi-baa")
    decision = with_rule_names(unpack(history.decision), history.rules)
    assert [gone.rule for gone in decision.excluded] == ["no-cn", "phi-baa"]
    why = entrepot("why", answer.headers["x-request-id"], "--data-dir", tmp_path, columns=200).out
    assert f"{MODEL}@a is excluded by the rule no-cn (house: a decision): prompts do not go to China" in why
    assert "phi-baa (law: 45 CFR 164.502(e))" in why
    assert version in why
    exported = entrepot("policy", "export", answer.headers["x-request-id"], "--data-dir", tmp_path).json
    assert exported["versions"]["rules"]["version"] == version
    assert [rule["id"] for rule in exported["versions"]["rules"]["rules"]] == ["no-cn", "phi-baa"]
    assert [gone["rule"] for gone in exported["decision"]["excluded"]] == ["no-cn", "phi-baa"]
    assert len(exported["versions"]["prices"]["prices"]) == 3
    assert len(exported["versions"]["catalog"]["endpoints"]) == 3
    assert bytes.fromhex(exported["decision_bytes"]) == history.decision
    again = entrepot("policy", "export", answer.headers["x-request-id"], "--data-dir", tmp_path).json
    assert again["digest"] == exported["digest"]
    (tmp_path / f"policy-{version}.json").unlink()
    bare = entrepot("why", answer.headers["x-request-id"], "--data-dir", tmp_path, columns=200).out
    assert "is excluded by the rule no-cn - host.owner_country decides" in bare
