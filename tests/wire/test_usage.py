"""Usage blocks as hosts send them, with the tokens that they mean, worked out by hand."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from entrepot.domain.usage import PricedUsage, Usage
from entrepot.wire.usage import MOST_TOKENS, usage_from, usage_from_block


def usage(
    uncached: int,
    output: int,
    *,
    cached: int = 0,
    write: int = 0,
    write_1h: int = 0,
    reasoning: int = 0,
    odd: bool = False,
) -> Usage:
    """Return a usage in the order in which the table reads best; `odd` marks a contradiction."""
    return Usage(
        uncached_tokens=uncached,
        cached_tokens=cached,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        output_tokens=output,
        reasoning_tokens=reasoning,
        contradictory=odd,
    )


BLOCKS: dict[str, tuple[str, Usage | None]] = {
    # OpenAI's chat convention: cached tokens are inside the prompt tokens
    "OpenAI, all details": (
        '{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,'
        '"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":0,'
        '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}',
        usage(86, 300, cached=1920, reasoning=192),
    ),
    "OpenAI, with cache writes": (
        '{"prompt_tokens":1500,"completion_tokens":10,"total_tokens":1510,'
        '"prompt_tokens_details":{"cached_tokens":1000,"cache_write_tokens":400}}',
        usage(100, 10, cached=1000, write=400),
    ),
    "OpenAI, no details": (
        '{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}',
        usage(19, 10),
    ),
    "OpenAI, embeddings": ('{"prompt_tokens":8,"total_tokens":8}', usage(8, 0)),
    "OpenRouter, with cost": (
        '{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.95,"is_byok":false,'
        '"cost_details":{"upstream_inference_cost":19},'
        '"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":100,"audio_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0}}',
        PricedUsage(**asdict(usage(94, 2, write=100)), told_nusd=950_000_000),
    ),
    "OpenRouter, a cost that is no amount": (
        '{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cost":-1}',
        usage(5, 2),
    ),
    "vLLM, details null": (
        '{"prompt_tokens":20,"total_tokens":52,"completion_tokens":32,"prompt_tokens_details":null}',
        usage(20, 32),
    ),
    "vLLM, started to report the cache": (
        '{"prompt_tokens":512,"total_tokens":544,"completion_tokens":32,'
        '"prompt_tokens_details":{"cached_tokens":496}}',
        usage(16, 32, cached=496),
    ),
    "vLLM, first chunk of continuous usage": (
        '{"prompt_tokens":20,"total_tokens":20,"completion_tokens":0}',
        usage(20, 0),
    ),
    "SGLang, reasoning at the top and null details": (
        '{"prompt_tokens":11,"total_tokens":43,"completion_tokens":32,'
        '"prompt_tokens_details":null,"reasoning_tokens":0}',
        usage(11, 32),
    ),
    "llama.cpp, recorded": (
        '{"completion_tokens":3,"prompt_tokens":31,"total_tokens":34,"prompt_tokens_details":{"cached_tokens":24}}',
        usage(7, 3, cached=24),
    ),
    "llama.cpp, timings alone": (
        '{"cache_n":35,"prompt_n":1,"prompt_ms":7.616,"predicted_n":3,"predicted_ms":14.461}',
        usage(1, 3, cached=35),
    ),
    "Moonshot, cached tokens at the top": (
        '{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40,"cached_tokens":10}',
        usage(9, 21, cached=10),
    ),
    "Groq, with times": (
        '{"queue_time":0.02,"prompt_tokens":14,"prompt_time":0.001,"completion_tokens":116,'
        '"completion_time":0.2,"total_tokens":130,"total_time":0.2}',
        usage(14, 116),
    ),
    "xAI, reasoning beside the completion": (
        '{"prompt_tokens":32,"completion_tokens":9,"total_tokens":241,'
        '"prompt_tokens_details":{"text_tokens":32,"cached_tokens":6},'
        '"completion_tokens_details":{"reasoning_tokens":200}}',
        usage(26, 209, cached=6, reasoning=200),
    ),
    "a proxy of Anthropic, cache reads and writes inside": (
        '{"prompt_tokens":5000,"completion_tokens":100,"total_tokens":5100,'
        '"cache_read_input_tokens":4000,"cache_creation_input_tokens":500}',
        usage(500, 100, cached=4000, write=500),
    ),
    "a proxy of Anthropic that says it twice": (
        '{"prompt_tokens":5000,"completion_tokens":100,"total_tokens":5100,'
        '"prompt_tokens_details":{"cached_tokens":4000},"cache_read_input_tokens":4000,'
        '"cache_creation_input_tokens":0}',
        usage(1000, 100, cached=4000),
    ),
    "a proxy of Anthropic, cache writes on top of the prompt": (
        '{"prompt_tokens":31,"completion_tokens":467,"total_tokens":498,'
        '"cache_creation_input_tokens":1253,"cache_read_input_tokens":0}',
        usage(31, 467, write=1253, odd=True),
    ),
    "a proxy of Anthropic, cache writes on top of the prompt, and in the total": (
        '{"prompt_tokens":31,"completion_tokens":467,"total_tokens":1751,'
        '"cache_creation_input_tokens":1253,"cache_read_input_tokens":0}',
        usage(31, 467, write=1253, odd=True),
    ),
    "a proxy of Anthropic that tells two counts of reads and of writes": (
        '{"prompt_tokens":5000,"completion_tokens":100,"total_tokens":5100,'
        '"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":200},'
        '"cache_read_input_tokens":4000,"cache_creation_input_tokens":500}',
        usage(4500, 100, write=500, odd=True),
    ),
    "a proxy of Anthropic, reads on top that the details deny": (
        '{"prompt_tokens":31,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":0},'
        '"cache_read_input_tokens":4000,"cache_creation_input_tokens":0}',
        usage(31, 7, cached=4000, odd=True),
    ),
    # DeepSeek: the prompt is hits plus misses
    "DeepSeek": (
        '{"prompt_tokens":100,"completion_tokens":12,"total_tokens":112,'
        '"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36,'
        '"completion_tokens_details":{"reasoning_tokens":9}}',
        usage(36, 12, cached=64, reasoning=9),
    ),
    "DeepSeek, the cache said twice": (
        '{"prompt_tokens":100,"completion_tokens":12,"total_tokens":112,'
        '"prompt_tokens_details":{"cached_tokens":64},'
        '"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
        usage(36, 12, cached=64),
    ),
    "DeepSeek, only the misses": (
        '{"prompt_tokens":100,"completion_tokens":12,"prompt_cache_miss_tokens":36}',
        usage(36, 12, cached=64),
    ),
    "DeepSeek, no prompt tokens": (
        '{"completion_tokens":12,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
        usage(36, 12, cached=64),
    ),
    # OpenAI's responses convention
    "responses": (
        '{"input_tokens":36,"input_tokens_details":{"cached_tokens":16},"output_tokens":87,'
        '"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}',
        usage(20, 87, cached=16, reasoning=64),
    ),
    "responses, with cache writes": (
        '{"input_tokens":36,"input_tokens_details":{"cached_tokens":16,"cache_write_tokens":10},'
        '"output_tokens":87,"total_tokens":123}',
        usage(10, 87, cached=16, write=10),
    ),
    "input and output alone, which both conventions read alike": (
        '{"input_tokens":12,"output_tokens":5}',
        usage(12, 5),
    ),
    # Anthropic: cache reads and writes come on top
    "Anthropic, with cache": (
        '{"input_tokens":21,"cache_creation_input_tokens":188086,"cache_read_input_tokens":500,'
        '"cache_creation":{"ephemeral_5m_input_tokens":188086,"ephemeral_1h_input_tokens":0},'
        '"output_tokens":393,"service_tier":"standard"}',
        usage(21, 393, cached=500, write=188086),
    ),
    "Anthropic, thinking": (
        '{"input_tokens":100,"cache_read_input_tokens":0,"output_tokens":393,'
        '"output_tokens_details":{"thinking_tokens":300}}',
        usage(100, 393, reasoning=300),
    ),
    "Anthropic, only the parts of the cache writes": (
        '{"input_tokens":5,"output_tokens":7,'
        '"cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":12}}',
        usage(5, 7, write=30, write_1h=12),
    ),
    # one of three totals missing is the difference of the others
    "no completion tokens but a total": ('{"prompt_tokens":8,"total_tokens":20}', usage(8, 12)),
    "no prompt tokens but a total": ('{"completion_tokens":8,"total_tokens":20}', usage(12, 8)),
    "whole numbers written as floats": ('{"prompt_tokens":8.0,"completion_tokens":2.0}', usage(8, 2)),
    # contradictions: flagged, and read as the dearer
    "more cached than prompt": (
        '{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":100}}',
        usage(100, 2, odd=True),
    ),
    "more cached and written than prompt": (
        '{"prompt_tokens":100,"completion_tokens":2,'
        '"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":50}}',
        usage(110, 2, odd=True),
    ),
    "total larger than its parts": (
        '{"prompt_tokens":10,"completion_tokens":2,"total_tokens":20}',
        usage(10, 10, odd=True),
    ),
    "total smaller than its parts": (
        '{"prompt_tokens":10,"completion_tokens":2,"total_tokens":5}',
        usage(10, 2, odd=True),
    ),
    "total smaller than the one part": (
        '{"prompt_tokens":10,"total_tokens":5}',
        usage(10, 0, odd=True),
    ),
    "more reasoning than output": (
        '{"prompt_tokens":10,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":50}}',
        usage(10, 52, reasoning=50, odd=True),
    ),
    "DeepSeek, hits and misses are not the prompt": (
        '{"prompt_tokens":90,"completion_tokens":12,'
        '"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
        usage(36, 12, cached=64, odd=True),
    ),
    "DeepSeek, two counts of hits": (
        '{"prompt_tokens":100,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":50},'
        '"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
        usage(50, 12, cached=50, odd=True),
    ),
    "cached tokens at two places": (
        '{"prompt_tokens":100,"completion_tokens":1,"cached_tokens":80,'
        '"prompt_tokens_details":{"cached_tokens":30}}',
        usage(70, 1, cached=30, odd=True),
    ),
    "Anthropic, parts are not the cache writes": (
        '{"input_tokens":5,"output_tokens":7,"cache_creation_input_tokens":40,'
        '"cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":12}}',
        usage(5, 7, write=30, write_1h=12, odd=True),
    ),
    "a negative part": (
        '{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":-5}}',
        usage(10, 2, odd=True),
    ),
    "a part that is text": (
        '{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":"5"}}',
        usage(10, 2, odd=True),
    ),
    # nothing is invented
    "nothing": ("{}", None),
    "null": ("null", None),
    "prompt tokens alone": ('{"prompt_tokens":10}', None),
    "total alone": ('{"total_tokens":10}', None),
    "completion tokens negative, no total": ('{"prompt_tokens":10,"completion_tokens":-1}', None),
    "completion tokens impossibly many": ('{"prompt_tokens":10,"completion_tokens":1e30}', None),
    "completion tokens true": ('{"prompt_tokens":10,"completion_tokens":true}', None),
    "Anthropic's delta without input": ('{"output_tokens":15,"cache_read_input_tokens":0}', None),
    "an array": ("[1,2]", None),
    "not JSON": ("{", None),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_means_these_tokens(name: str) -> None:
    """Each convention is read as its host documents it, once; a contradiction as its dearer reading."""
    text, expected = BLOCKS[name]
    assert usage_from(text.encode()) == expected
    assert usage_from(msgspec.Raw(text.encode())) == expected


_counts = st.integers(min_value=-3, max_value=40) | st.none() | st.floats() | st.text(max_size=2)
_names = st.sampled_from(
    [
        *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"),
        *("cached_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "cache_n", "prompt_n", "predicted_n"),
    ]
)
_details = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "input_tokens_details"])
_parts = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), _counts, max_size=3
)


@given(
    st.dictionaries(_names, _counts, max_size=8),
    st.dictionaries(_details, _parts | _counts, max_size=3),
)
def test_no_block_bills_less_than_it_says(top: dict[str, object], details: dict[str, object]) -> None:
    """Whatever a host writes: counts are never negative, and never below the totals that it names."""
    found = usage_from_block({**top, **details})
    if found is None:
        return
    kinds = (found.uncached_tokens, found.cached_tokens, found.cache_write_tokens, found.output_tokens)
    assert all(0 <= tokens <= 4 * MOST_TOKENS for tokens in kinds)
    assert 0 <= found.reasoning_tokens <= found.output_tokens
    for name, tokens in (
        ("prompt_tokens", found.prompt_tokens),
        ("completion_tokens", found.output_tokens),
    ):
        said = top.get(name)
        if isinstance(said, int) and said >= 0:
            assert tokens >= said
