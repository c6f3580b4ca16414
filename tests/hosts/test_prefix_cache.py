"""What a simulated host takes for cached."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from entrepot.hosts.prefix_cache import BLOCK_TOKENS, PrefixCache
from entrepot.hosts.simulated_request import count_tokens

BLOCK = 4 * BLOCK_TOKENS


def test_a_conversation_that_grows_is_cached_up_to_its_last_whole_block() -> None:
    """The usual case: the same beginning and something new."""
    cache = PrefixCache()
    first = b"a" * (3 * BLOCK + 10)
    assert cache.look_up(first) == 0
    assert cache.look_up(first + b"b" * BLOCK) == 3 * BLOCK_TOKENS


def test_another_beginning_shares_nothing() -> None:
    """Equal blocks behind a different one are not the same prefix."""
    cache = PrefixCache()
    cache.look_up(b"a" * BLOCK + b"x" * BLOCK * 2)
    assert cache.look_up(b"b" * BLOCK + b"x" * BLOCK * 2) == 0


def test_the_blocks_seen_longest_ago_are_forgotten() -> None:
    """Memory is bounded."""
    cache = PrefixCache(most_blocks=2)
    one, two = b"a" * (2 * BLOCK + 1), b"b" * (2 * BLOCK + 1)
    cache.look_up(one)
    cache.look_up(two)
    assert cache.look_up(one) == 0


@given(st.lists(st.binary(min_size=0, max_size=4 * BLOCK), max_size=8))
def test_cached_tokens_are_always_less_than_the_prompts(prompts: list[bytes]) -> None:
    """A host computes at least the last token, and never caches what it has not seen."""
    cache = PrefixCache()
    for prompt in prompts:
        assert cache.look_up(prompt) in range(count_tokens(prompt))
        again = cache.look_up(prompt)
        assert again == max(0, (len(prompt) - 1) // BLOCK) * BLOCK_TOKENS < count_tokens(prompt)
