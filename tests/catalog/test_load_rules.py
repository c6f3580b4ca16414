"""Rules in a configuration: what a file becomes, and that every mistake is named with its place."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from entrepot.catalog.load import load_settings
from entrepot.catalog.load_rules import load_pack
from entrepot.catalog.settings import Settings
from entrepot.catalog.show import settings_text
from entrepot.domain.errors import ConfigError
from entrepot.routing.rule import Attribute, Condition, Effect, Operator, Rule, Status

RULE = """\
[[rules]]
id = "one"
effect = "forbid"
status = "house"
basis = "a decision"
sentence = "not there"
when.host.owner_country = "CN"
"""


def load(text: str, folder: Path) -> Settings:
    """Return the settings of a text, as a file of that folder."""
    file = folder / "entrepot.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {})


def problems(text: str, folder: Path) -> list[str]:
    """Return the problems of a text, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(text, folder)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_a_rule_is_what_the_file_says(tmp_path: Path) -> None:
    """Values alone mean *in* or *is*; a table names the operator, or several."""
    text = RULE.replace('"forbid"', '"require"').replace('= "CN"', '= ["US", "CN"]') + (
        "when.tenant.us_person = true\n"
        'when.request.data_class = { in = ["phi"], outside = "public" }\n'
        "holds.endpoint.retention_days = { at_most = 30 }\n"
        'holds.endpoint.quantization = { at_least = "FP8" }\n'
        "holds.endpoint.attested_on = { not_older_than_days = 90, declared = true }\n"
        "valid_from = 2026-01-01\nvalid_until = 2027-01-01\n"
    )
    (rule,) = load(text, tmp_path).policy.rules
    assert rule == Rule(
        "one",
        Effect.REQUIRE,
        Status.HOUSE,
        "a decision",
        "not there",
        when=(
            Condition(Attribute.TENANT_US_PERSON, Operator.IS, value=True),
            Condition(Attribute.REQUEST_DATA_CLASS, Operator.IN, ("phi",)),
            Condition(Attribute.REQUEST_DATA_CLASS, Operator.OUTSIDE, ("public",)),
            Condition(Attribute.HOST_OWNER_COUNTRY, Operator.IN, ("CN", "US")),
        ),
        holds=(
            Condition(Attribute.ENDPOINT_QUANTIZATION, Operator.AT_LEAST, ("fp8",)),
            Condition(Attribute.ENDPOINT_RETENTION_DAYS, Operator.AT_MOST, 30),
            Condition(Attribute.ENDPOINT_ATTESTED_ON, Operator.NOT_OLDER_THAN_DAYS, 90),
            Condition(Attribute.ENDPOINT_ATTESTED_ON, Operator.DECLARED, value=True),
        ),
        valid_from=date(2026, 1, 1),
        valid_until=date(2027, 1, 1),
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ('id = "one"\n', "", "1: rules[0]", "id is missing"),
        ('"one"', '"One, two"', "2: rules[0].id", "small letters"),
        ('effect = "forbid"\n', "", "1: rules[0]", "effect is missing"),
        ('"forbid"', '"allow"', "3: rules[0].effect", "not one of forbid, require"),
        ('"house"', '"rumour"', "4: rules[0].status", "not one of contract, draft, house, law"),
        ('basis = "a decision"\n', "", "1: rules[0]", "basis is missing"),
        ('sentence = "not there"\n', "", "1: rules[0]", "sentence is missing"),
        ('"not there"', '"a\\nb"', "6: rules[0].sentence", "no line breaks"),
        ('when.host.owner_country = "CN"', "", "1: rules[0]", "when is missing"),
        ('when.host.owner_country = "CN"', "when = {}", "7: rules[0].when", "has no condition"),
        (
            "when.host.owner_country",
            "when.host.owner_contry",
            "7: rules[0].when.host.owner_contry",
            "owner_country?",
        ),
        ("when.host", "when.hots", "7: rules[0].when.hots", "did you mean host?"),
        ("when.", "wen.", "7: rules[0].wen", "did you mean when?"),
        ('"CN"', '"China"', "7: rules[0].when.host.owner_country", "two capital letters"),
        ('"CN"', "[]", "7: rules[0].when.host.owner_country", "is empty"),
        ('"CN"', "true", "7: rules[0].when.host.owner_country", "expected an array of texts"),
        ('"CN"', "{ at_most = 3 }", "7: rules[0].when.host.owner_country.at_most", "unknown key"),
        ('"CN"', "{}", "7: rules[0].when.host.owner_country", "has no operator; known here: in, not_in"),
        ('host.owner_country = "CN"', "endpoint.baa = 1", "7: rules[0].when.endpoint.baa", "true or false"),
        (
            *('host.owner_country = "CN"', "endpoint.retention_days = 3"),
            *("7: rules[0].when.endpoint.retention_days", "with one of at_least, at_most, declared"),
        ),
        (
            *('host.owner_country = "CN"', "endpoint.retention_days = { at_most = -1 }"),
            *("7: rules[0].when.endpoint.retention_days.at_most", "between 0"),
        ),
        (
            *('host.owner_country = "CN"', 'endpoint.quantization = { at_least = "fp9" }'),
            *("7: rules[0].when.endpoint.quantization.at_least", "did you mean fp8?"),
        ),
        (
            *('host.owner_country = "CN"', 'request.data_class = { not_in = ["phi"] }'),
            *("7: rules[0].when.request.data_class.not_in", "unknown key"),
        ),
        (
            *('host.owner_country = "CN"', 'request.purpose = "Sales!"'),
            *("7: rules[0].when.request.purpose", "small letters"),
        ),
        ('"CN"', '"CN"\nholds.endpoint.baa = true', "8: rules[0].holds", "is for require"),
        (
            *('"forbid"', '"require"'),
            *("1: rules[0]", "holds is missing"),
        ),
        (
            *('"CN"', '"CN"\nvalid_from = 2026-01-02\nvalid_until = 2026-01-02'),
            *("9: rules[0].valid_until", "not after valid_from"),
        ),
        ('"CN"', '"CN"\nvalid_from = "2026"', "8: rules[0].valid_from", "expected a day"),
        ("[[rules]]", RULE + "[[rules]]", "9: rules[1].id", "described twice"),
        ("[[rules]]", '[policy]\npacks = ["eu-onyl"]\n[[rules]]', "2: policy.packs", "did you mean eu-only?"),
        ("[[rules]]", '[policy]\npacks = ["gone.toml"]\n[[rules]]', "2: policy.packs", "is no pack"),
        ("[[rules]]", '[policy]\npakcs = ["eu-only"]\n[[rules]]', "2: policy.pakcs", "did you mean packs?"),
        (
            "[[rules]]",
            '[policy]\ndata_classes = ["A b"]\n[[rules]]',
            "2: policy.data_classes",
            "small letters",
        ),
    ],
)
def test_each_mistake_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, place: str, problem: str
) -> None:
    """Where it stands, what is wrong with it, and what to write instead."""
    found = problems(RULE.replace(old, new, 1), tmp_path)
    assert any(line.startswith(f"entrepot.toml:{place}") and problem in line for line in found), found


def test_a_name_stands_for_one_rule(tmp_path: Path) -> None:
    """A refusal that names it must not leave open which rule of which file is meant."""
    (found,) = problems('[policy]\npacks = ["eu-only"]\n' + RULE.replace("one", "eu-only"), tmp_path)
    assert "2: policy.packs: eu-only has the rule eu-only, as has the configuration already" in found


def test_a_required_attribute_cannot_be_one_that_clients_add(tmp_path: Path) -> None:
    """Else a header could meet what a rule requires; the message says how to write it."""
    text = RULE.replace('"forbid"', '"require"') + 'holds.request.purpose = "support"\n'
    found = problems(text, tmp_path)
    assert "8: rules[0].holds.request.purpose: a client could add what is required" in found[0]
    assert "outside" in found[0]


def test_the_mistakes_of_a_pack_are_reported_with_those_of_the_configuration(tmp_path: Path) -> None:
    """Each with the name of its own file, in one go."""
    (tmp_path / "mine.toml").write_text('titel = "x"\n' + RULE.replace('"house"', '"rumour"'))
    (tmp_path / "torn.toml").write_text("[[rules")
    (tmp_path / "empty.toml").write_text("")
    text = '[policy]\npacks = ["mine.toml", "torn.toml"]\non_request = ["empty.toml"]\n' + RULE.replace(
        "one", "two"
    )
    found = problems(text.replace('"CN"', '"China"'), tmp_path)
    assert [line.partition(": ")[0] for line in found] == [
        *("entrepot.toml:10", "mine.toml:1", "mine.toml:5", "torn.toml:1", "empty.toml:1")
    ]


def test_drafts_are_read_and_enforced_only_when_told(tmp_path: Path) -> None:
    """One by one with `enforce`, all with `enforce_drafts`."""
    draft = RULE.replace('"house"', '"draft"')
    texts = (
        draft,
        draft + "enforce = true\n",
        "[policy]\nenforce_drafts = true\n" + draft,
        RULE + "enforce = false\n",
    )
    assert [load(text, tmp_path).policy.rules[0].enforced for text in texts] == [False, True, True, False]


def test_packs_count_for_all_or_for_those_who_ask(tmp_path: Path) -> None:
    """Shipped ones by name, others by their path."""
    (tmp_path / "mine.toml").write_text(RULE)
    text = '[policy]\npacks = ["./mine.toml"]\non_request = ["eu-only"]\n'
    rules = load(text, tmp_path).policy.rules
    assert [(rule.id, rule.rule_set, rule.on_request) for rule in rules] == [
        ("one", "mine", False),
        ("eu-only", "eu-only", True),
    ]


def test_what_is_shown_loads_to_the_same_rules(tmp_path: Path) -> None:
    """`config show` prints the configuration's own rules as it reads them, and those of packs as comments."""
    text = (
        '[policy]\npacks = ["no-china-hosting"]\n'
        + RULE.replace('"forbid"', '"require"')
        + (
            'when.tenant.tags = { not_in = ["a"] }\nholds.endpoint.quantization = { at_least = "fp8" }\n'
            "valid_from = 2026-01-01\n"
            '[[hosts]]\nname = "h"\nbase_url = "http://x/v1"\nmajor_owners = []\n'
            '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1\ncountry = "DE"\nbaa = true\n'
            'attested_on = 2026-05-01\nevidence = "a page"\n'
        )
    )
    loaded = load(text, tmp_path)
    shown = settings_text(loaded)
    again = load(shown, tmp_path)
    assert again.policy == loaded.policy
    assert again.endpoints == loaded.endpoints
    assert loaded.endpoints[0].endpoint.major_owners == frozenset()
    assert "# from the pack no-china-hosting: no-china-region" in shown
    assert '"pack": "no-china-hosting"' in settings_text(loaded, as_json=True)
    assert settings_text(again, as_json=True) == settings_text(loaded, as_json=True)


def test_a_pack_may_say_what_it_is(tmp_path: Path) -> None:
    """Title, source, day and notice are for people; anything else is a mistake."""
    pack = tmp_path / "p.toml"
    pack.write_text('title = "t"\nsource = "s"\nchecked = 2026-11-26\nnotice = "not legal advice"\n' + RULE)
    assert [rule.rule_set for rule in load_pack(pack)] == ["p"]
