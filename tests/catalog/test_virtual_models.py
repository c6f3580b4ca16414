"""Virtual models: what a file says of them, and every mistake in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrepot.catalog.data_files import data_path
from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import Settings
from entrepot.catalog.show import settings_text
from entrepot.domain.errors import ConfigError
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.virtual import Member, VirtualModel

HOST = """\
[[models]]
name = "a/x"
success_share = 0.9
[[hosts]]
name = "h"
base_url = "https://api.example.com/v1"
[[hosts.endpoints]]
model = "a/x"
context_tokens = 1000
[[hosts.endpoints]]
model = "b/y"
context_tokens = 1000
"""
CODER = """\
[[virtual_models]]
name = "auto/coder"
models = ["a/x", { model = "b/y", success_share = 0.82 }]
min_success_share = 0.7
"""


def load(text: str, folder: Path) -> Settings:
    """Return the settings of a text, as a file of that folder."""
    file = folder / "entrepot.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {})


def declared(share: float) -> Estimate:
    """Return a share that the file declares."""
    return Estimate(share, Basis.DECLARED, source="entrepot.toml")


def test_a_virtual_model_has_members_with_what_is_said_of_them(tmp_path: Path) -> None:
    """A member's own share counts, else that of its model, else nobody said one."""
    plain = '[[virtual_models]]\nname = "auto/any"\nmodels = ["b/y", { model = "a/x", success_share = 1 }]\n'
    assert load(HOST + CODER + plain, tmp_path).virtual_models == (
        VirtualModel("auto/coder", (Member("a/x", declared(0.9)), Member("b/y", declared(0.82))), 0.7),
        VirtualModel("auto/any", (Member("b/y"), Member("a/x", declared(1.0)))),
    )
    assert load(HOST, tmp_path).virtual_models == ()


def test_what_is_shown_of_virtual_models_loads_to_the_same(tmp_path: Path) -> None:
    """As TOML; as JSON under the names of the file."""
    loaded = load(HOST + CODER, tmp_path)
    text = settings_text(loaded)
    assert load(text, tmp_path).virtual_models == loaded.virtual_models
    assert load(text, tmp_path).models == loaded.models
    assert json.loads(settings_text(loaded, as_json=True))["virtual_models"] == [
        {
            "name": "auto/coder",
            "models": [{"model": "a/x", "success_share": 0.9}, {"model": "b/y", "success_share": 0.82}],
            "min_success_share": 0.7,
        }
    ]


def test_the_virtual_model_of_the_example_is_right(tmp_path: Path) -> None:
    """It stands there behind comment signs; without them it loads."""
    lines = data_path("examples/entrepot.toml").read_text(encoding="utf-8").splitlines()
    begin = lines.index("# [[virtual_models]]")
    end = lines.index("", begin)
    lines[begin:end] = [line.removeprefix("# ") for line in lines[begin:end]]
    file = tmp_path / "entrepot.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    (virtual,) = load_settings(file, {}, reads_secrets=False).virtual_models
    assert (virtual.name, len(virtual.members), virtual.min_success_share) == ("auto/cheap-coder", 2, 0.7)


MISTAKES: dict[str, tuple[str, str, str]] = {
    "no name": ('name = "auto/coder"', "", "virtual_models[0]: name is missing"),
    "no developer": ('"auto/coder"', '"coder"', "virtual_models[0].name: 'coder' is not of the form"),
    "a model's name": ('"auto/coder"', '"a/x"', "virtual_models[0].name: a/x is the name of a model"),
    "an endpoint's model": ('"auto/coder"', '"b/y"', "virtual_models[0].name: b/y is the name of a model"),
    "an unknown member": ('"a/x"', '"a/xx"', "no [[hosts.endpoints]] serves 'a/xx'; did you mean a/x?"),
    "an unknown described one": ('"b/y"', '"b/z"', "no [[hosts.endpoints]] serves 'b/z'"),
    "itself": ('"a/x"', '"auto/coder"', "auto/coder is a virtual model itself; list its models"),
    "a member twice": ('"a/x"', '"b/y"', "virtual_models[0].models: b/y is listed twice"),
    "a number": ('"a/x"', "5", "virtual_models[0].models[0]: expected a text or a table, found an integer"),
    "an empty text": ('"a/x"', '""', "virtual_models[0].models[0]: expected a text or a table"),
    "a member without name": ('model = "b/y", ', "", "virtual_models[0].models[1]: model is missing"),
    "no share": ("0.82", "0", "virtual_models[0].models[1].success_share: 0 is out of range"),
    "a percentage": ("0.82", "82", "expected a number above 0, at most 1"),
    "a floor above all": ("0.7", "1.1", "virtual_models[0].min_success_share: 1.1 is out of range"),
    "a share of a model": ("share = 0.9", "share = 9", "models[0].success_share: 9 is out of range"),
    "a text as share": ("0.82", '"0.82"', "expected a number, found a text"),
    "a slip in a member": ("success_share = 0.82", "succes = 0.82", "did you mean success_share?"),
    "a slip": ("min_success_share", "min_succes_share", "did you mean min_success_share?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    """One at a time, each in its own words."""
    old, new, problem = MISTAKES[name]
    text = HOST + CODER.replace(old, new) if old in CODER else HOST.replace(old, new) + CODER
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ("", "models is missing"),
        ("models = []", "is empty; list at least one model"),
        ('models = "a/x"', "expected an array"),
    ],
)
def test_a_virtual_model_without_models_is_a_mistake(tmp_path: Path, models: str, problem: str) -> None:
    """It could never answer."""
    with pytest.raises(ConfigError) as caught:
        load(f'{HOST}[[virtual_models]]\nname = "auto/coder"\n{models}\n', tmp_path)
    assert [problem in told for told in caught.value.problems] == [True]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """With those of the rest of the file; a name may be used once."""
    text = "[server]\nport = true\n" + HOST + CODER.replace("a/x", "c/z").replace("0.7", "7") + CODER
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    lines = [int(problem.removeprefix(f"{tmp_path}/").split(":")[1]) for problem in caught.value.problems]
    assert lines == [2, 17, 18, 20]
    assert "described twice" in caught.value.problems[-1]
