"""Usage blocks of five conventions, read into the one of `domain.usage`, where no token is counted twice.

A table of field names would be shorter and wrong: conventions differ in what lies inside what (OpenAI's
prompt tokens contain the cached ones, Anthropic's do not; some hosts count reasoning beside the output), and
hosts contradict themselves. Nothing is invented: a count that is missing is not zero, except cached, cache
writes and reasoning, which are parts of a total that is known. A block that contradicts itself is flagged and
read so that it costs more, never less.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder
from msgspec.structs import asdict

from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.usage import PricedUsage, Usage

MOST_TOKENS = 2**31 - 1  # of one attempt; what is above is a broken counter, and would overflow the ledger

DEAREST_ANSWER_USD = 1e6  # more is no cost of an answer, and NaN is not below it

_decode = Decoder().decode
_ANTHROPIC_FIELDS = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")


def usage_from(raw: bytes | Raw) -> Usage | None:
    """Return the tokens of a usage block in JSON, or None when it does not tell prompt and output tokens."""
    try:
        return usage_from_block(_decode(raw))
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def usage_from_block(block: object) -> Usage | None:
    """Return the tokens of a decoded block, by the convention that its fields show."""
    if not isinstance(block, dict):
        return None
    if "prompt_cache_hit_tokens" in block or "prompt_cache_miss_tokens" in block:
        return usage_from_deepseek(block)
    if "prompt_tokens" in block or "completion_tokens" in block:
        return usage_from_openai(block)
    if _is_anthropic(block):
        return usage_from_anthropic(block)
    if "input_tokens" in block:
        return usage_from_responses(block)
    return usage_from_timings(block) if "predicted_n" in block else None


def _is_anthropic(block: Mapping[str, Any]) -> bool:
    return any(name in block for name in _ANTHROPIC_FIELDS)


def usage_from_openai(block: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of OpenAI's chat convention: cached and cache writes are inside the prompt tokens.

    OpenRouter, vLLM, SGLang and llama.cpp use it; Moonshot puts `cached_tokens` at the top. Proxies of
    Anthropic add its counts: they are taken to be inside too while they fit, else (and then the block
    contradicts itself) on top, as Anthropic has them.
    """
    counts = _Counts(block)
    prompt, output = counts.of("prompt_tokens"), counts.of("completion_tokens")
    cached = counts.first(
        counts.of("cached_tokens", within="prompt_tokens_details"), counts.of("cached_tokens")
    )
    write = counts.of("cache_write_tokens", within="prompt_tokens_details")
    if _is_anthropic(block):
        read, created = counts.of("cache_read_input_tokens"), counts.of("cache_creation_input_tokens")
        most_read, most_written = max(cached or 0, read or 0), max(write or 0, created or 0)
        if prompt is not None and most_read + most_written > prompt:
            prompt += counts.on_top(most_read + most_written)
            cached, write = most_read, most_written
        else:
            cached = counts.first(cached, read)
            counts.contradictory |= None not in (write, created) and write != created
            write = most_written
    return counts.usage(
        prompt=prompt,
        output=output,
        cached=cached,
        cache_write=write,
        reasoning=counts.of("reasoning_tokens", within="completion_tokens_details"),
    )


def usage_from_responses(block: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of OpenAI's responses convention: as for chat, under other names."""
    counts = _Counts(block)
    return counts.usage(
        prompt=counts.of("input_tokens"),
        output=counts.of("output_tokens"),
        cached=counts.of("cached_tokens", within="input_tokens_details"),
        cache_write=counts.of("cache_write_tokens", within="input_tokens_details"),
        reasoning=counts.first(
            counts.of("reasoning_tokens", within="output_tokens_details"),
            counts.of("thinking_tokens", within="output_tokens_details"),
        ),
    )


def usage_from_anthropic(block: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of Anthropic's convention: cache reads and writes come on top of the input tokens."""
    counts = _Counts(block)
    uncached, read = counts.of("input_tokens"), counts.of("cache_read_input_tokens") or 0
    total, short, long = (
        counts.of("cache_creation_input_tokens"),
        counts.of("ephemeral_5m_input_tokens", within="cache_creation"),
        counts.of("ephemeral_1h_input_tokens", within="cache_creation"),
    )
    parts = None if short is None and long is None else (short or 0) + (long or 0)
    if total is not None and parts is not None and total != parts:
        counts.contradictory = True
    write = max(total or 0, parts or 0)
    return counts.usage(
        prompt=None if uncached is None else uncached + read + write,
        output=counts.of("output_tokens"),
        cached=read,
        cache_write=write - (long or 0),
        cache_write_1h=long,
        reasoning=counts.of("thinking_tokens", within="output_tokens_details"),
    )


def usage_from_deepseek(block: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of DeepSeek's convention: the prompt is cache hits plus misses."""
    counts = _Counts(block)
    prompt = counts.of("prompt_tokens")
    hit, miss = counts.of("prompt_cache_hit_tokens"), counts.of("prompt_cache_miss_tokens")
    also_hit = counts.of("cached_tokens", within="prompt_tokens_details")
    if hit is not None and miss is not None:
        counts.contradictory |= prompt is not None and prompt != hit + miss
        prompt = max(prompt or 0, hit + miss)
    elif hit is None and miss is not None and prompt is not None:
        hit = max(0, prompt - miss)
    if hit is not None and also_hit is not None and hit != also_hit:
        counts.contradictory = True
        hit = min(hit, also_hit)
    return counts.usage(
        prompt=prompt,
        output=counts.of("completion_tokens"),
        cached=hit if hit is not None else also_hit,
        cache_write=None,
        reasoning=counts.of("reasoning_tokens", within="completion_tokens_details"),
    )


def usage_from_timings(block: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of llama.cpp's `timings`, for replies of its server that have no usage block."""
    counts = _Counts(block)
    cached, evaluated = counts.of("cache_n"), counts.of("prompt_n")
    return counts.usage(
        prompt=None if evaluated is None else evaluated + (cached or 0),
        output=counts.of("predicted_n"),
        cached=cached,
        cache_write=None,
        reasoning=None,
    )


class _PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class OrdinaryUsage(Struct, gc=False):
    """OpenAI's block with whole numbers; the last five fields are signs of other conventions."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cached_tokens: Raw | UnsetType = UNSET
    prompt_cache_hit_tokens: Raw | UnsetType = UNSET
    prompt_cache_miss_tokens: Raw | UnsetType = UNSET
    cache_read_input_tokens: Raw | UnsetType = UNSET
    cache_creation_input_tokens: Raw | UnsetType = UNSET
    cost: float | None = None


def usage_from_ordinary(block: OrdinaryUsage) -> Usage | None:
    """Return the tokens of a block whose numbers agree, or None when it asks for a closer look."""
    prompt, output = block.prompt_tokens, block.completion_tokens
    details, output_details = block.prompt_tokens_details, block.completion_tokens_details
    cached = write = reasoning = 0
    if details is not None:
        cached, write = details.cached_tokens or 0, details.cache_write_tokens or 0
    if output_details is not None:
        reasoning = output_details.reasoning_tokens or 0
    ordinary = (
        0 < prompt <= MOST_TOKENS
        and 0 <= output <= MOST_TOKENS
        and block.total_tokens == prompt + output
        and cached >= 0
        and write >= 0
        and cached + write <= prompt
        and 0 <= reasoning <= output
        and block.cached_tokens is UNSET
        and block.prompt_cache_hit_tokens is UNSET
        and block.prompt_cache_miss_tokens is UNSET
        and block.cache_read_input_tokens is UNSET
        and block.cache_creation_input_tokens is UNSET
    )
    if not ordinary:
        return None
    usage = Usage(prompt - cached - write, cached, write, output, reasoning)
    return usage if block.cost is None else priced(usage, block.cost)


def priced(usage: Usage, cost: object) -> Usage:
    """Return the usage with what its host says that it costs, unless that is no amount. Units: USD.

    OpenRouter's field and convention; it is measured by, and never billed.
    """
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= DEAREST_ANSWER_USD:
        return usage
    return PricedUsage(**asdict(usage), told_nusd=round(cost * NUSD_PER_USD))


class _Counts:
    """The counts of one block, with a note whether they disagree."""

    __slots__ = ("_block", "_on_top", "contradictory")

    def __init__(self, block: Mapping[str, Any]) -> None:
        self._block = block
        self._on_top = 0
        self.contradictory = False

    def on_top(self, tokens: int) -> int:
        """Return these tokens; they come on top of what the block calls its prompt, and perhaps its total."""
        self._on_top = tokens
        self.contradictory = True
        return tokens

    def of(self, name: str, *, within: str | None = None) -> int | None:
        """Return a count, None when it is missing; one that is no count at all is flagged and missing."""
        block: Any = self._block if within is None else self._block.get(within)
        value = block.get(name) if isinstance(block, dict) else None
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return value
        self.contradictory = True
        return None

    def first(self, count: int | None, other: int | None) -> int | None:
        """Return the one of two counts that is there; of two that differ, the smaller: it costs more."""
        if count is None or other is None:
            return other if count is None else count
        self.contradictory |= count != other
        return min(count, other)

    def usage(
        self,
        *,
        prompt: int | None,
        output: int | None,
        cached: int | None,
        cache_write: int | None,
        reasoning: int | None,
        cache_write_1h: int | None = None,
    ) -> Usage | None:
        """Return the disjoint counts; `prompt` and `output` are totals that contain the other four."""
        cached, cache_write, cache_write_1h = cached or 0, cache_write or 0, cache_write_1h or 0
        reasoning = reasoning or 0
        parts = cached + cache_write + cache_write_1h
        totals = self._totals(prompt, output, reasoning)
        if totals is None:
            return None
        prompt, output = totals
        if not prompt and not parts:
            return None  # every request has a prompt: zeros are a counter that was never filled
        if reasoning > output:
            self.contradictory = True
            output += reasoning
        if parts > prompt:
            self.contradictory = True
            prompt, cached, cache_write, cache_write_1h, parts = parts, 0, 0, 0, 0
        usage = Usage(
            uncached_tokens=prompt - parts,
            cached_tokens=cached,
            cache_write_tokens=cache_write,
            output_tokens=output,
            reasoning_tokens=reasoning,
            cache_write_1h_tokens=cache_write_1h,
            contradictory=self.contradictory,
        )
        return priced(usage, self._block.get("cost"))

    def _totals(self, prompt: int | None, output: int | None, reasoning: int) -> tuple[int, int] | None:
        """Return prompt and output tokens, made to agree with `total_tokens` where the block has it."""
        total = self.of("total_tokens")
        if prompt is None or output is None:
            known = output if prompt is None else prompt
            if total is None or known is None:
                return None
            self.contradictory |= total < known
            rest = max(0, total - known)
            return (rest, known) if prompt is None else (known, rest)
        if total is not None and total == prompt - self._on_top + output:
            total += self._on_top
        if total is None or total == prompt + output:
            return prompt, output
        excess = total - prompt - output
        if excess != reasoning:  # else a host that counts reasoning beside the output, as xAI and Google do
            self.contradictory = True
        return prompt, output + max(0, excess)
