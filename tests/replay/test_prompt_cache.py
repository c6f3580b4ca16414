"""The prompt cache: beginnings only, the ends of what is old go first, and nothing outlives its time."""

from __future__ import annotations

from entrepot.replay.prompt_cache import PromptCache
from entrepot.replay.scenario import CacheFigures


def test_only_a_common_beginning_is_cached() -> None:
    """The first block that differs ends it, whatever follows."""
    cache = PromptCache(CacheFigures(100))
    cache.add((1, 2, 3), 0.0)
    assert cache.cached_tokens((1, 2, 9, 3), 1.0) == 1024
    assert cache.cached_tokens((9, 1, 2), 1.0) == 0


def test_the_end_of_the_oldest_prompt_goes_first() -> None:
    """Four blocks fit: of the first prompt its beginning is left."""
    cache = PromptCache(CacheFigures(4))
    cache.add((1, 2, 3), 0.0)
    cache.add((7, 8), 1.0)
    assert len(cache) == 4
    assert cache.cached_tokens((1, 2, 3), 1.0) == 1024
    assert cache.cached_tokens((7, 8), 1.0) == 1024


def test_what_was_not_used_for_its_time_is_gone() -> None:
    """Each use starts the time anew."""
    cache = PromptCache(CacheFigures(4, ttl_s=60.0))
    cache.add((1, 2), 0.0)
    cache.add((1,), 50.0)
    assert cache.cached_tokens((1, 2), 55.0) == 1024
    assert cache.cached_tokens((1, 2), 100.0) == 512
    assert cache.cached_tokens((1, 2), 200.0) == 0
