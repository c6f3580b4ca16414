"""What recorded usage blocks cost, to the nano-dollar: by the code, by hand, and by the host's own word."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest

from entrepot.domain.usage import Usage
from entrepot.wire.usage import OrdinaryUsage, usage_from, usage_from_ordinary
from tests.wire.usage_block import Block
from tests.wire.usage_blocks import MAKERS
from tests.wire.usage_blocks_of_hosts import HOSTS

BLOCKS = (*MAKERS, *HOSTS)
NAMES = [block.name for block in BLOCKS]
every_block = pytest.mark.parametrize("block", BLOCKS, ids=NAMES)


def read(block: Block) -> Usage:
    """Return the tokens of a block."""
    usage = usage_from(block.block.encode())
    assert usage is not None
    return usage


@every_block
def test_a_block_costs_what_was_worked_out_by_hand(block: Block) -> None:
    """Read by its host's convention and billed at its prices, it costs the literal in the table."""
    assert block.prices.bill(read(block)).total_nusd == block.nusd


@every_block
def test_a_block_is_flagged_when_it_contradicts_itself(block: Block) -> None:
    """And only then."""
    usage = read(block)
    assert (usage.contradictory, usage.estimated) == (block.odd, False)


@every_block
def test_the_hand_did_not_slip(block: Block) -> None:
    """The table's arithmetic, done once more in decimals and rounded line by line, gives its literal."""
    total = Decimal(0)
    for line in block.worked.split(" + "):
        tokens, price = line.split("×")
        total += (Decimal(tokens) * Decimal(price) * 1000).quantize(Decimal(1), ROUND_HALF_UP)
    assert total == block.nusd


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.billed_usd], ids=lambda block: block.name
)
def test_the_cost_is_what_the_host_says_that_it_billed(block: Block) -> None:
    """OpenRouter and xAI tell the cost of each answer: where prices are known, ours is exactly theirs."""
    assert Decimal(block.billed_usd) * 10**9 == block.nusd


@every_block
def test_the_short_way_reads_a_block_like_the_long_one_or_leaves_it(block: Block) -> None:
    """Ordinary blocks are read by a typed decoder; whatever it does not leave it reads alike."""
    try:
        ordinary = msgspec.json.decode(block.block, type=OrdinaryUsage)
    except msgspec.DecodeError:
        return
    assert usage_from_ordinary(ordinary) in (None, read(block))


def test_the_table_is_large_and_each_row_names_its_page() -> None:
    """Forty blocks and more, of all hosts and engines that the field is made of, no name twice."""
    assert len(BLOCKS) >= 40
    assert len(set(NAMES)) == len(BLOCKS)
    for block in BLOCKS:
        assert block.source.startswith(("https://", "github.com/", "tests/wire/recordings/"))
        assert block.seen[:3] == "202"
    told = " ".join(NAMES)
    for host in (
        *("OpenAI chat", "OpenAI responses", "Anthropic", "DeepSeek", "OpenRouter", "Together", "Groq"),
        *("Fireworks", "xAI", "Mistral", "Moonshot", "Gemini", "vLLM", "SGLang", "llama.cpp", "Azure"),
    ):
        assert host in told
