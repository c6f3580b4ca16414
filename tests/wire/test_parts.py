"""What no count of bytes bounds is found in every shape that hosts take, and text never is."""

from __future__ import annotations

import json

import msgspec
import pytest

from entrepot.wire.parts import NO_PARTS, Parts, parts_of, unbounded_field


def fields(**values: object) -> dict[str, msgspec.Raw]:
    """Return top-level fields as a request's body has them."""
    return msgspec.json.decode(json.dumps(values), type=dict[str, msgspec.Raw])


def message(*parts: object) -> dict[str, object]:
    """Return a message of these parts."""
    return {"role": "user", "content": list(parts)}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "no parts, and the word image_url"}], NO_PARTS),
        ([{"role": "assistant", "content": None, "tool_calls": []}], NO_PARTS),
        ([message({"type": "text", "text": "a"}, IMAGE), message(IMAGE)], Parts(images=2)),
        ([message({"type": "input_audio", "input_audio": {"data": ""}})], Parts(audios=1)),
        ([message({"type": "file", "file": {}}, {"type": "video_url"})], Parts(others=2)),
        ([message({"text": "no type"})], Parts(others=1)),
        ([message({"type": 7})], Parts(others=1)),
        ([{"role": "user", "content": {"type": "image_url"}}], Parts(is_readable=False)),
        ([message("a bare text", IMAGE, IMAGE)], Parts(images=2)),
    ],
)
def test_parts_are_counted_by_their_type(messages: list[object], expected: Parts) -> None:
    """A shape that cannot be counted says so; a bare text among parts hides none of them."""
    assert parts_of(fields(messages=messages)) == expected


def test_an_escaped_type_is_the_type() -> None:
    """A client cannot hide an image from the bound by writing its type in another way."""
    raw = b'{"messages":[{"role":"user","content":[{"ty\\u0070e":"image\\u005furl"}]}]}'
    assert parts_of(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])) == Parts(images=1)


def test_tools_may_be_written_out_with_an_indentation() -> None:
    """Templates print tools and schemas: nested arrays grow by their depth, and every byte may be a token."""
    nested = json.loads("[" * 40 + "]" * 40)
    compact = fields(tools=[{"type": "function", "function": {"name": "f", "parameters": nested}}])
    printed = len(json.dumps(json.loads(bytes(compact["tools"])), indent=4))
    assert parts_of(compact).printed_tokens >= printed - len(bytes(compact["tools"])) > 3_000


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, None),
        ({"service_tier": None, "prediction": None, "plugins": [], "audio": None}, None),
        ({"service_tier": "default", "tools": [{"type": "function", "function": {}}]}, None),
        ({"service_tier": "flex", "tools": [{"type": "custom"}, {"function": {}}]}, None),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"service_tier": 3}, "service_tier"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {"user_location": {}}}, "web_search_options"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": ["function"]}]}, "tools"),
        ({"tools": "all of them"}, "tools"),
        ({"n_predict": 300}, "n_predict"),
        ({"Max_Tokens": 9}, "Max_Tokens"),
        ({"chat_template": "{% for i in range(9) %}"}, "chat_template"),
        ({"enable_search": True}, "enable_search"),
        ({"enable_search": False, "modalities": ["text"]}, None),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"best_of": 3, "messages": []}, "best_of"),
        ({"best_of": 3, "prompt": "a"}, None),
    ],
)
def test_what_costs_beside_tokens_is_named(given: dict[str, object], found: str | None) -> None:
    """Hosted tools, predictions, speech and dearer tiers have prices that no limit of tokens bounds."""
    assert unbounded_field(fields(model="m", **given)) == found
