"""Readers of traces: three formats, recognised by content, every bad line named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from entrepot.domain.errors import ConfigError, DataError
from entrepot.replay.trace_files import bundled_traces, load_trace, parse_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:15:46.6805900,374,44\n"
MOONCAKE = '{"timestamp": 27, "input_length": 1300, "output_length": 52, "hash_ids": [46, 47, 48]}\n'


def ledger_row(**changes: object) -> dict[str, object]:
    """Return one request as `entrepot requests --json` prints it, cut to what a trace needs and more."""
    lines = {"uncached": {"tokens": 900, "usd": "0.1"}, "cached": {"tokens": 100, "usd": "0.0"}}
    lines |= {"output": {"tokens": 30, "usd": "0.1"}, "reasoning": {"tokens": 20, "usd": "0"}}
    return {
        "id": "req-1",
        "created_at": "2026-01-01T00:00:00.500Z",
        "key_id": 7,
        "outcome": "ok",
        "attempts": [{"lines": {**lines, "request": {"usd": "0.00"}}}],
        **changes,
    }


def test_an_azure_file_is_read_row_by_row_from_its_first_arrival() -> None:
    """Seven decimals of a second are read; the first request is at 0 s."""
    found = parse_trace("t", "t.csv", AZURE + ROW + "2023-11-16 18:15:48.1805900,396,109\n")
    assert [(one.prompt_tokens, one.output_tokens) for one in found.requests] == [(374, 44), (396, 109)]
    assert found.requests[0].at_s == 0.0
    assert found.requests[1].at_s == pytest.approx(1.5)


def test_mooncake_keeps_whole_blocks_only() -> None:
    """1300 tokens are two whole blocks of 512; the third is not the beginning of anything else."""
    (request,) = parse_trace("t", "t.jsonl", MOONCAKE).requests
    assert (request.prompt_tokens, request.output_tokens, request.blocks) == (1300, 52, (46, 47))


@pytest.mark.parametrize("form", ["list", "lines"])
def test_our_own_ledger_is_read_as_a_list_and_as_lines(form: str) -> None:
    """As `entrepot requests --json` prints it, and with --follow; tokens are those of the last attempt."""
    rows = [ledger_row(), ledger_row(id="req-2", created_at="2026-01-01T00:00:02.500Z", key_id=8)]
    text = json.dumps(rows, indent=2) if form == "list" else "\n".join(json.dumps(row) for row in rows)
    found = parse_trace("t", "t.json", text).requests
    assert [(one.at_s, one.prompt_tokens, one.output_tokens, one.key_id) for one in found] == [
        (0.0, 1000, 50, 7),
        (2.0, 1000, 50, 8),
    ]


def test_requests_without_tokens_are_left_out_and_said() -> None:
    """A request that failed everywhere has no size; the trace says how many are missing."""
    failed = ledger_row(attempts=[{"lines": {"uncached": {"tokens": 0}}}])
    found = parse_trace("t", "t.json", json.dumps([ledger_row(), failed]))
    assert len(found.requests) == 1
    assert found.skipped == "left out, as they have no tokens: 1 requests"


def test_requests_are_put_in_the_order_of_their_arrival() -> None:
    """A ledger lists by end; a replay needs arrivals."""
    rows = [ledger_row(created_at="2026-01-01T00:00:09Z"), ledger_row(created_at="2026-01-01T00:00:01Z")]
    assert [one.at_s for one in parse_trace("t", "t", json.dumps(rows)).requests] == [0.0, 8.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t: is empty"),
        ("a,b\n1,2\n", "t:1: 'a,b' begins no trace that we know"),
        ("# words\n", "t:1: '# words' begins no trace"),
        ('{"some": 1}\n', "t:1: '{\"some\": 1}' begins no trace"),
        (AZURE, "t: has no requests"),
        (AZURE + ROW + "yesterday,1,2\n", "t:3: TIMESTAMP 'yesterday'; expected such as 2023-11-16"),
        (
            AZURE + "2023-11-16 18:15:46,374\n",
            "t:2: 2 cells in '2023-11-16 18:15:46,374'; expected TIMESTAMP",
        ),
        (AZURE + "2023-11-16 18:15:46,many,2\n", "t:2: ContextTokens 'many'; expected a whole number from 1"),
        (AZURE + "2023-11-16 18:15:46,3,0\n", "t:2: GeneratedTokens '0'; expected a whole number from 1"),
        (AZURE + "2023-11-16 18:15:46,-3,1\n", "t:2: ContextTokens '-3'; expected a whole number"),
        (MOONCAKE + "{broken\n", "t:2: '{broken': JSON is malformed"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5}\n', "t:2:"),
        (MOONCAKE.replace("48]", '"x"]'), "t:1:"),
        (MOONCAKE.replace(", 48", ""), "t:1: 2 hash_ids for 1300 tokens; expected 3, one for each block"),
        (MOONCAKE.replace("52", "0"), "t:1: output_length '0'; expected a whole number"),
        ("[1]", "t: Expected `object`, got `int` - at `$[0]`"),
        ("[", "t: Input data was truncated"),
        (json.dumps([ledger_row(attempts=[])]), "t: item 1: request req-1 has no attempts"),
        (json.dumps([ledger_row(created_at="soon")]), "t: Invalid RFC3339"),
        (json.dumps(ledger_row()) + "\n" + json.dumps({"attempts": 3}), "t:2:"),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected(text: str, said: str) -> None:
    """One row per kind of mistake: file, line, what was seen, what was expected."""
    with pytest.raises(DataError) as error:
        parse_trace("t", "t", text)
    assert said in str(error.value)


def test_packed_files_are_unpacked_and_named_by_their_stem(tmp_path: Path) -> None:
    """A trace may be kept with gzip; its name is what stands before the first dot."""
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress((AZURE + ROW).encode()))
    assert load_trace(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no gzip", "cannot be unpacked"), (gzip.compress(b"\xff\xfe\xfd"), "is not UTF-8")],
)
def test_a_file_that_cannot_be_unpacked_or_decoded_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    """Damage is a message, not a traceback."""
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_trace(str(path))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """A path that does not exist is no name of ours."""
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_trace(str(tmp_path / "none.csv"))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """Traces that ship are known by name."""
    with pytest.raises(ConfigError, match="did you mean azure_2023_conv"):
        load_trace("azure_2023_con")


def test_the_traces_that_ship_are_whole() -> None:
    """19,366 requests of Azure, 12,031 of Mooncake with their blocks: what all figures stand on."""
    sizes = {name: len(load_trace(name).requests) for name in bundled_traces()}
    assert sizes == {"azure_2023_conv": 19_366, "mooncake_conversation": 12_031}
    assert sum(len(one.blocks) for one in load_trace("mooncake_conversation").requests) > 270_000
