"""What of a request no count of its bytes bounds: images and audio by reference, hosted tools, dearer tiers.

Asked only for keys with a hard budget, so that all others spare themselves a second look at their messages.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder

_TEXTS = frozenset({"text", "refusal", "input_text", "output_text", "thinking", "reasoning"})
_IMAGES = frozenset({"image_url", "image", "input_image"})
_AUDIOS = frozenset({"input_audio", "audio", "audio_url"})
_OWN_TOOLS = frozenset({"function", "custom"})
_USUAL_TIERS = frozenset({"default", "flex", "standard_only"})
_NULL = b"null"


class Parts(Struct, frozen=True):
    """How many parts of a request are no text; `others` are files, videos and whatever we do not know."""

    images: int = 0
    audios: int = 0
    others: int = 0


class _Part(Struct, gc=False):
    type: Any = None


class _Message(Struct, gc=False):
    content: str | list[_Part] | None = None


class _Tool(Struct, gc=False):
    type: Any = "function"


NO_PARTS = Parts()
_decode_messages = Decoder(list[_Message]).decode
_decode_tools = Decoder(list[_Tool]).decode
_decode = Decoder().decode


def parts_of(fields: Mapping[str, Raw]) -> Parts:
    """Return the parts of the messages that are no text; a shape that we cannot read counts as one other."""
    messages = fields.get("messages")
    if messages is None:
        return NO_PARTS
    try:
        contents = [message.content for message in _decode_messages(messages)]
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return Parts(others=1)
    kinds = [part.type for content in contents if isinstance(content, list) for part in content]
    if not kinds:
        return NO_PARTS
    images = sum(isinstance(kind, str) and kind in _IMAGES for kind in kinds)
    audios = sum(isinstance(kind, str) and kind in _AUDIOS for kind in kinds)
    texts = sum(isinstance(kind, str) and kind in _TEXTS for kind in kinds)
    return Parts(images, audios, len(kinds) - images - audios - texts)


def unbounded_field(fields: Mapping[str, Raw]) -> str | None:
    """Return a field whose cost no limit of tokens bounds, or None when there is none.

    Hosted tools and plug-ins have fees per use, a rejected prediction is billed beside the answer, spoken
    output and other service tiers have other prices.
    Source: the API references of OpenAI (chat completions) and OpenRouter (plugins), read November 2026.
    """
    for name in ("prediction", "web_search_options", "plugins", "audio"):
        if bytes(fields.get(name, Raw(_NULL))) not in (_NULL, b"[]", b"{}"):
            return name
    tier = fields.get("service_tier")
    if tier is not None and bytes(tier) != _NULL and _value(tier) not in _USUAL_TIERS:
        return "service_tier"
    tools = fields.get("tools")
    if tools is not None and bytes(tools) != _NULL and not _are_own(tools):
        return "tools"
    return None


def _value(raw: Raw) -> object:
    value = _decode(raw)
    return value if isinstance(value, str) else None


def _are_own(tools: Raw) -> bool:
    try:
        return all(tool.type in _OWN_TOOLS for tool in _decode_tools(tools))
    except (DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return False
