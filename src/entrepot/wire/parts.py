"""What of a request no count of its bytes bounds: images and audio by reference, hosted tools, dearer tiers.

Asked only for keys with a hard budget (and where an estimate needs it), so that all others spare themselves a
second look at their messages. A list of what is known to be dear would be out of date with the next engine,
so fields are allowed by name: those whose cost a limit of tokens bounds, whatever they say.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder

_TEXTS = frozenset({"text", "refusal", "input_text", "output_text", "thinking", "reasoning"})
_IMAGES = frozenset({"image_url", "image", "input_image"})
_AUDIOS = frozenset({"input_audio", "audio", "audio_url"})
_OWN_TOOLS = frozenset({"function", "custom"})
_USUAL_TIERS = frozenset({"default", "flex", "standard_only"})
_TEXT_ALONE = b'["text"]'
_NOTHING = (b"null", b"[]", b"{}", b"false")
_PRINTED = ("tools", "functions", "response_format")  # templates write them with an indentation of their own
_INDENT = 4

# Fields whose cost the prompt's bytes and the limit of output bound.
_OF_API = """
    model models provider slo messages prompt input suffix echo stream stream_options
    max_tokens max_completion_tokens n best_of stop seed temperature top_p top_k min_p top_a typical_p
    presence_penalty frequency_penalty repetition_penalty logit_bias logprobs top_logprobs min_tokens
    response_format tools tool_choice parallel_tool_calls functions function_call
    reasoning reasoning_effort include_reasoning thinking enable_thinking verbosity
    user safety_identifier prompt_cache_key prompt_cache_retention metadata store service_tier modalities
    encoding_format dimensions
"""
_OF_ENGINES = """
    guided_json guided_regex guided_choice guided_grammar structured_outputs grammar json_schema
    chat_template_kwargs ignore_eos cache_prompt return_tokens timings_per_token
"""
BOUNDED_FIELDS = frozenset(f"{_OF_API} {_OF_ENGINES}".split())


class Parts(Struct, frozen=True):
    """How many parts of a request are no text; `others` are files, videos and whatever we do not know.

    `is_readable` is false when the messages have a shape that cannot be counted. Units: `printed_tokens` are
    what a template may add that writes tools and schemas out with an indentation.
    """

    images: int = 0
    audios: int = 0
    others: int = 0
    printed_tokens: int = 0
    is_readable: bool = True


class _Part(Struct, gc=False):
    type: Any = None


class _Message(Struct, gc=False):
    content: str | list[str | _Part] | None = None


class _Tool(Struct, gc=False):
    type: Any = "function"


NO_PARTS = Parts()
_decode_messages = Decoder(list[_Message]).decode
_decode_tools = Decoder(list[_Tool]).decode
_decode = Decoder().decode


def parts_of(fields: Mapping[str, Raw]) -> Parts:
    """Return the parts of a request that no count of its bytes bounds."""
    printed_tokens = sum(_growth(fields[name]) for name in _PRINTED if name in fields)
    messages = fields.get("messages")
    if messages is None:
        return Parts(printed_tokens=printed_tokens)
    try:
        contents = [message.content for message in _decode_messages(messages)]
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return Parts(is_readable=False)
    parts = [part for content in contents if isinstance(content, list) for part in content]
    kinds = [part.type for part in parts if isinstance(part, _Part)]
    if not kinds:
        return Parts(printed_tokens=printed_tokens)
    images = sum(isinstance(kind, str) and kind in _IMAGES for kind in kinds)
    audios = sum(isinstance(kind, str) and kind in _AUDIOS for kind in kinds)
    texts = sum(isinstance(kind, str) and kind in _TEXTS for kind in kinds)
    return Parts(images, audios, len(kinds) - images - audios - texts, printed_tokens)


def unbounded_field(fields: Mapping[str, Raw]) -> str | None:
    """Return a field whose cost no limit of tokens bounds, or None when there is none.

    Hosted tools and plug-ins have fees per use, a rejected prediction is billed beside the answer, spoken
    output and other service tiers have other prices, and engines have limits of their own under other names.
    Source: the API references of OpenAI, OpenRouter, vLLM and llama.cpp, read November 2026.
    """
    for name, raw in fields.items():
        if name not in BOUNDED_FIELDS and bytes(raw) not in _NOTHING:
            return name
    if "best_of" in fields and "messages" in fields:
        return "best_of"  # of completions it is counted, of chat nobody says what it does
    tier = fields.get("service_tier")
    if tier is not None and bytes(tier) != b"null" and _value(tier) not in _USUAL_TIERS:
        return "service_tier"
    spoken = fields.get("modalities")
    if spoken is not None and bytes(spoken).replace(b" ", b"") not in (*_NOTHING, _TEXT_ALONE):
        return "modalities"
    tools = fields.get("tools")
    if tools is not None and bytes(tools) != b"null" and not _are_own(tools):
        return "tools"
    return None


def _growth(raw: Raw) -> int:
    """Return the bytes that a value grows by when it is written with an indentation."""
    return max(0, len(msgspec.json.format(bytes(raw), indent=_INDENT)) - len(bytes(raw)))


def _value(raw: Raw) -> object:
    value = _decode(raw)
    return value if isinstance(value, str) else None


def _are_own(tools: Raw) -> bool:
    try:
        return all(tool.type in _OWN_TOOLS for tool in _decode_tools(tools))
    except (DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return False
