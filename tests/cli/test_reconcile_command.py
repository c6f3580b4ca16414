"""`entrepot ledger reconcile` finds the planted differences of a made invoice, these and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.made_invoice import HOST, MODEL, THEIR_MODEL, planted, write_invoice, write_ledger
from tests.cli.command_line import Ran, entrepot

MAPPED = ("--map", f"{THEIR_MODEL}={MODEL}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an invoice in which five differences are planted."""
    folder = tmp_path_factory.mktemp("made")
    write_ledger(folder)
    write_invoice(folder / "invoice.csv")
    return folder


def reconcile(folder: Path, *options: str, invoice: Path | None = None) -> Ran:
    """Line an invoice up with the ledger of a data directory."""
    file = folder / "invoice.csv" if invoice is None else invoice
    return entrepot("ledger", "reconcile", file, "--host", HOST, "--data-dir", folder, *options, columns=160)


def edited(folder: Path, target: Path, old: str, new: str) -> Path:
    """Write the invoice with every `old` replaced."""
    target.write_text((folder / "invoice.csv").read_text().replace(old, new))
    return target


def test_exactly_the_five_planted_differences_are_found(made: Path) -> None:
    """Each cause with its amount to the nano-dollar; exit 1, and nothing is left over."""
    ran = reconcile(made, *MAPPED, "--json")
    shown = ran.json
    found = {finding["cause"]: finding["difference_nusd"] for finding in shown["findings"]}
    assert found == planted()
    assert (ran.status, len(shown["findings"]), shown["agrees"]) == (1, 5, False)
    assert (shown["difference_nusd"], shown["rounding_nusd"]) == (sum(planted().values()), 0)
    days = [finding["day"] for finding in shown["findings"]]
    assert days == ["2025-11-02", "2025-11-04", "2025-11-06", "2025-11-08", None]
    assert [one["day"] for one in shown["compared"] if one["difference_nusd"]] == days[:4]


def test_the_table_and_the_sentences_say_the_same(made: Path) -> None:
    """One line and one sentence for each difference, and the sums."""
    ran = reconcile(made, *MAPPED)
    for cause in planted():
        assert ran.out.count(f": {cause}: ") == 1
    assert "price version 1 explains it: $0.55 input, $0.14 cached, $2.19 output" in " ".join(ran.out.split())
    assert "ledger $0.81104446, invoice $20.86146834, difference +$20.05042388" in ran.out


def test_the_page_on_reconciling_shows_what_is_printed(made: Path) -> None:
    """Its output is the real one."""
    page = (Path(__file__).parents[2] / "docs/how-to/reconcile.md").read_text()
    command = ("ledger", "reconcile", made / "invoice.csv", "--host", HOST, "--data-dir", made, *MAPPED)
    assert f"```\n{entrepot(*command, columns=108).out}```" in page


def test_an_invoice_that_agrees_exits_0(made: Path, tmp_path: Path) -> None:
    """The lines of the days without a planted difference."""
    lines = (made / "invoice.csv").read_text().splitlines(keepends=True)
    good = tmp_path / "good.csv"
    good.write_text(lines[0] + lines[1])
    ran = reconcile(made, *MAPPED, invoice=good)
    assert (ran.status, "the invoice and the ledger agree" in ran.err) == (0, True)


def test_a_month_is_compared_whole(made: Path, tmp_path: Path) -> None:
    """Days of the month that are not on the invoice are missing there; lines of other months are left."""
    lines = (made / "invoice.csv").read_text().splitlines(keepends=True)
    part = tmp_path / "part.csv"
    part.write_text(lines[0] + lines[1])
    shown = reconcile(made, *MAPPED, "--month", "2025-11", "--json", invoice=part).json
    assert [finding["cause"] for finding in shown["findings"]] == ["not on the invoice"] * 9
    assert reconcile(made, *MAPPED, "--month", "2025-12", invoice=part).status == 0


def test_models_and_columns_are_called_what_the_user_says(made: Path, tmp_path: Path) -> None:
    """By the map, by a configuration's upstream names, or by a column's name."""
    config = tmp_path / "entrepot.toml"
    config.write_text(
        f"""
[[hosts]]
name = "{HOST}"
base_url = "https://example.com/v1"

[[hosts.endpoints]]
model = "{MODEL}"
upstream_model = "{THEIR_MODEL}"
input_usd_per_mtok = "0.55"
output_usd_per_mtok = "2.19"
context_tokens = 64000
"""
    )
    assert len(reconcile(made, "--config", str(config), "--json").json["findings"]) == 5
    other = edited(made, tmp_path / "other.csv", "cost_usd", "to_pay")
    ran = reconcile(made, *MAPPED, "--column", "cost=to_pay", "--json", invoice=other)
    assert len(ran.json["findings"]) == 5
    unmapped = reconcile(made).out
    assert f"--map {THEIR_MODEL}=" in unmapped


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--zone", "Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        (("--month", "October"), "'October' is no month"),
        (("--map", "reasoner"), "'reasoner': expected a pair"),
        (("--column", "cost=paid"), "there is no column 'paid'"),
        (("--host", "nobody"), "the ledger knows no host 'nobody'"),
    ],
)
def test_a_mistake_is_a_usage_error(made: Path, options: tuple[str, ...], message: str) -> None:
    """It names what was seen and what was expected."""
    ran = reconcile(made, *options)
    assert ran.status == 2
    assert message in " ".join(ran.err.replace("│", " ").split())


def test_a_file_that_is_not_there_or_has_no_days_is_said(made: Path, tmp_path: Path) -> None:
    """Before the ledger is asked."""
    assert "cannot be read" in reconcile(made, invoice=tmp_path / "none.csv").err
    empty = tmp_path / "empty.csv"
    empty.write_text("date,cost\n")
    assert "no line of the invoice has a day" in " ".join(reconcile(made, invoice=empty).err.split())


def test_the_hosts_days_may_be_of_another_zone(made: Path) -> None:
    """In Shanghai's days nearly nothing agrees with this invoice, whose days are UTC."""
    shown = reconcile(made, *MAPPED, "--zone", "Asia/Shanghai", "--json").json
    assert len(shown["findings"]) > 5
    assert shown["zone"] == "Asia/Shanghai"
