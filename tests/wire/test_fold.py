"""Streams folded into one reply: hand-written ones in the shapes of several hosts, and any reply unfolded.

That a folded reply equals the plain one of a real engine is tested in tests/hosts/test_local.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.endpoint import Operation
from entrepot.wire.fold import Fold

Json = dict[str, Any]


def stream(chunks: Iterable[object], *, done: bool = True) -> bytes:
    """Return the chunks as a host would write them."""
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n" if done else ""]).encode()


def folded(data: bytes, operation: Operation = Operation.CHAT) -> Json:
    """Return the folded reply; fails with the reason when there is none."""
    fold = Fold(operation)
    fold.feed(data)
    reply = fold.json()
    assert reply is not None, fold.failure
    value = json.loads(reply)
    assert isinstance(value, dict)
    return value


def delta(content: Json, *, index: int = 0, finish: str | None = None, **fields: object) -> Json:
    """Return a chunk with one delta."""
    return {"choices": [{"index": index, "delta": content, "finish_reason": finish, **fields}]}


def message_of(*deltas: Json) -> Json:
    """Return the message that the deltas of one choice fold to."""
    reply = folded(stream([*(delta(content) for content in deltas), delta({}, finish="stop")]))
    message = reply["choices"][0]["message"]
    assert isinstance(message, dict)
    return message


def failure_of(data: bytes) -> str:
    """Return why the stream has no reply."""
    fold = Fold(Operation.CHAT)
    fold.feed(data)
    assert fold.json() is None
    assert fold.failure is not None
    return fold.failure


def test_a_chat_stream_folds_into_the_plain_reply() -> None:
    """llama.cpp's shape: a first delta without content, usage and timings in a last chunk without choices."""
    base = {"id": "chatcmpl-1", "created": 7, "model": "m", "system_fingerprint": "b1"}
    base |= {"object": "chat.completion.chunk"}
    usage = {"completion_tokens": 2, "prompt_tokens": 3, "total_tokens": 5}
    chunks = [
        base | delta({"role": "assistant", "content": None}),
        base | delta({"content": "Hel"}),
        base | delta({"content": "lo"}),
        base | delta({}, finish="stop"),
        base | {"choices": [], "usage": usage, "timings": {"predicted_ms": 1.25}},
    ]
    assert folded(stream(chunks)) == {
        **base,
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": usage,
        "timings": {"predicted_ms": 1.25},
    }


def test_a_text_completion_folds_with_its_logprobs() -> None:
    """OpenAI's own shape of text logprobs: four arrays side by side, one of them of objects."""
    chunks = [
        {
            "object": "text_completion",
            "choices": [
                {
                    "index": 0,
                    "text": token,
                    "logprobs": {
                        "tokens": [token],
                        "token_logprobs": [-0.5],
                        "top_logprobs": [{token: -0.5}],
                    },
                    "finish_reason": None,
                }
            ],
        }
        for token in ("one", " two")
    ]
    chunks.append({"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]})
    reply = folded(stream(chunks), Operation.COMPLETION)
    assert reply == {
        "object": "text_completion",
        "choices": [
            {
                "index": 0,
                "text": "one two",
                "logprobs": {
                    "tokens": ["one", " two"],
                    "token_logprobs": [-0.5, -0.5],
                    "top_logprobs": [{"one": -0.5}, {" two": -0.5}],
                },
                "finish_reason": "length",
            }
        ],
    }


def test_tool_calls_are_put_together_by_their_index() -> None:
    """OpenAI's shape: id, type and name once, arguments in pieces, two calls interleaved; content is null."""
    message = message_of(
        {"role": "assistant", "content": None},
        {"tool_calls": [tool_delta(0, id="call_a", name="weather", arguments="")]},
        {"tool_calls": [tool_delta(0, arguments='{"city": ')]},
        {"tool_calls": [tool_delta(1, id="call_b", name="time", arguments="{")]},
        {"tool_calls": [tool_delta(0, arguments='"Paris"}'), tool_delta(1, arguments="}")]},
    )
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            tool_call("call_a", "weather", '{"city": "Paris"}'),
            tool_call("call_b", "time", "{}"),
        ],
    }


def tool_delta(index: int | None, *, arguments: str, id: str | None = None, name: str | None = None) -> Json:  # noqa: A002
    """Return one entry of `delta.tool_calls`."""
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    identity = {} if id is None else {"id": id, "type": "function"}
    return ({} if index is None else {"index": index}) | identity | {"function": function}


def tool_call(call_id: str, name: str, arguments: str) -> Json:
    """Return one entry of `message.tool_calls`."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [
                tool_delta(0, id="a", name="f", arguments="{}"),
                tool_delta(0, id="b", name="g", arguments="["),
                tool_delta(0, arguments="]"),
            ],
            id="every call has index 0",
        ),
        pytest.param(
            [
                tool_delta(None, id="a", name="f", arguments="{}"),
                tool_delta(None, id="b", name="g", arguments="[]"),
            ],
            id="no call has an index",
        ),
        pytest.param(
            [
                tool_delta(0, id="a", name="f", arguments="{"),
                tool_delta(0, id="x", arguments="}"),
                tool_delta(1, id="b", name="g", arguments="["),
                tool_delta(1, id="y", arguments="]"),
            ],
            id="each delta has a new id",
        ),
        pytest.param(
            [
                tool_delta(1, id="b", name="g", arguments="[]"),
                tool_delta(0, id="a", name="f", arguments="{"),
                tool_delta(0, id="a", name="f", arguments="}"),
            ],
            id="ids and names are repeated, the second call comes first",
        ),
    ],
)
def test_tool_calls_of_careless_hosts_fold_to_the_same(deltas: list[Json]) -> None:
    """Hosts leave out the index, repeat it for another call, or repeat what should be said once."""
    calls = message_of(*({"tool_calls": [part]} for part in deltas))["tool_calls"]
    assert calls == [tool_call("a", "f", "{}"), tool_call("b", "g", "[]")]


def test_a_legacy_function_call_is_put_together() -> None:
    """The shape before tool calls: one object, its arguments in pieces."""
    message = message_of(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
    )
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["content"] is None


def test_several_choices_are_told_apart_and_ordered() -> None:
    """Chunks of several choices come in any order, several of them in one chunk, the second first."""
    reply = folded(
        stream(
            [
                delta({"role": "assistant", "content": "b"}, index=1),
                delta({"role": "assistant", "content": "a"}, index=0),
                {
                    "choices": [
                        {"index": 0, "delta": {"content": "A"}},
                        {"index": 1, "delta": {"content": "B"}},
                    ]
                },
                delta({}, index=1, finish="length"),
                delta({}, index=0, finish="stop"),
            ]
        )
    )
    told = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in reply["choices"]]
    assert told == [(0, "aA", "stop"), (1, "bB", "length")]


def test_logprobs_of_content_and_refusal_are_strung_together() -> None:
    """Each delta brings the logprobs of its own tokens; a chunk without them changes nothing."""
    entry = {"token": "x", "logprob": -0.1, "bytes": [120], "top_logprobs": []}
    reply = folded(
        stream(
            [
                delta({"content": "x"}, logprobs={"content": [entry], "refusal": None}),
                delta({"content": "x"}, logprobs={"content": [entry, entry], "refusal": None}),
                delta({}, finish="stop", logprobs=None),
            ]
        )
    )
    assert reply["choices"][0]["logprobs"] == {"content": [entry] * 3, "refusal": None}


def test_a_refusal_folds_into_text_with_null_content() -> None:
    """OpenAI's shape: the first delta has empty content, then only the refusal grows."""
    message = message_of(
        {"role": "assistant", "content": "", "refusal": None}, {"refusal": "I can"}, {"refusal": "not."}
    )
    assert message == {"role": "assistant", "content": None, "refusal": "I cannot."}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "a_field_of_next_year"])
def test_text_fields_of_a_delta_grow_whatever_their_name(name: str) -> None:
    """DeepSeek, vLLM and OpenRouter name reasoning differently; a new name must not lose its text."""
    message = message_of({"role": "assistant", name: "Let me"}, {name: " think"}, {"content": "42"})
    assert message == {"role": "assistant", name: "Let me think", "content": "42"}


def test_entries_of_a_delta_are_strung_together() -> None:
    """OpenRouter's reasoning details and annotations: every entry is kept, in order, as it was sent."""
    details = [{"type": "reasoning.text", "text": text, "index": 0} for text in ("a", "b", "c")]
    message = message_of(
        {"reasoning_details": details[:2]}, {"reasoning_details": details[2:]}, {"content": "!"}
    )
    assert message["reasoning_details"] == details


def test_content_that_never_came_is_the_empty_string() -> None:
    """A model that ends at once, in llama.cpp's shape; its plain reply has empty content, not null."""
    assert message_of({"role": "assistant", "content": None}) == {"role": "assistant", "content": ""}


def test_a_missing_role_is_the_assistants() -> None:
    """Some hosts leave the role out, others repeat it in each delta."""
    assert message_of({"content": "x"})["role"] == "assistant"
    assert message_of({"role": "assistant", "content": "x"}, {"role": "assistant"})["role"] == "assistant"


def test_unknown_fields_are_kept_and_the_last_word_counts() -> None:
    """Beside the choices and in them: what says nothing (null, empty) never replaces what said something."""
    chunks = [
        {"id": "", "created": 0, "service_tier": None, "choices": [], "prompt_filter_results": [{"a": 1}]},
        {"id": "x", "created": 1, "usage": None, **delta({"content": "x"}, stop_reason=None, matched=5)},
        {"id": "x", "created": 2, "x_host": {"region": "eu"}, **delta({}, finish="stop", stop_reason=151643)},
        {"id": "", "usage": {"total_tokens": 1}, "choices": [], "obfuscation": "pXm"},
    ]
    reply = folded(stream(chunks))
    choice = reply.pop("choices")[0]
    assert reply == {
        "object": "chat.completion",
        "id": "x",
        "created": 2,
        "service_tier": None,
        "prompt_filter_results": [{"a": 1}],
        "usage": {"total_tokens": 1},
        "x_host": {"region": "eu"},
    }
    assert choice["stop_reason"] == 151643
    assert choice["matched"] == 5


def test_numbers_keep_every_digit() -> None:
    """Values that we do not read are never parsed into floats and written anew."""
    choice = b'{"index":0,"logprobs":{"content":[{"logprob":-2.2564542293548584000}]},"finish_reason":"stop"}'
    data = b'data: {"created":12345678901234567890123,"x":-1.50e-7,"choices":[%b]}\n\n' % choice
    fold = Fold(Operation.CHAT)
    fold.feed(data)
    reply = fold.json()
    assert reply is not None
    for number in (b"12345678901234567890123", b"-1.50e-7", b"-2.2564542293548584000"):
        assert number in reply


def test_what_is_no_chunk_is_passed_over() -> None:
    """Comments, empty events, event names, CRLF line ends, a `null` event, and no blank line at the end."""
    body = json.dumps(delta({"content": "x"}, finish="stop"))
    data = (
        f": keep-alive\r\n\r\n\r\ndata: null\r\n\r\nevent: chunk\r\ndata: {body}\r\n\r\ndata: [DONE]".encode()
    )
    assert folded(data)["choices"][0]["message"]["content"] == "x"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "held no answer"),
        (b"data: [DONE]\n\n", "held no answer"),
        (stream([delta({"content": "x"})], done=False), "ended before its answer"),
        (stream([{"error": {"message": "busy", "code": 503}}]), "reported an error"),
        (stream([delta({"content": "x"}), {"error": {"message": "busy"}}]), "reported an error"),
        (b"data: oops\n\n", "not a chunk"),
        (b"data: [1]\n\n", "not a chunk"),
        (stream([{"choices": 5}]), "not a chunk"),
        (stream([{"choices": [{"index": "first", "delta": {}}]}]), "not a chunk"),
        (b'data: {"a":' + b"[" * 100_000 + b"\n\n", "not a chunk"),
        (
            stream([delta({"content": "x"}), delta({"content": [{"text": "y"}]}, finish="stop")]),
            "a field changes",
        ),
        (stream([delta({"tool_calls": [7]}, finish="stop")]), "cannot be folded"),
    ],
)
def test_a_stream_without_a_whole_answer_has_no_reply(data: bytes, reason: str) -> None:
    """A cut or broken stream is never shown as success, and never raises: the reason is kept."""
    assert reason in failure_of(data)


def test_a_stream_is_whole_without_done_once_every_choice_has_ended() -> None:
    """Hosts without `[DONE]` exist; with two answers asked for, one finish reason is not the end."""
    one = stream([delta({"content": "x"}, finish="stop")], done=False)
    assert folded(one)["choices"][0]["finish_reason"] == "stop"
    fold = Fold(Operation.CHAT, choices=2)
    fold.feed(one)
    assert fold.json() is None


def test_an_empty_finish_reason_is_none_yet() -> None:
    """Some hosts write an empty one in each chunk until the last."""
    chunks = [delta({"content": "x"}, finish=""), delta({}, finish="stop"), {"choices": [], "usage": {}}]
    assert folded(stream(chunks, done=False))["choices"][0]["finish_reason"] == "stop"
    assert "ended before" in failure_of(stream(chunks[:1], done=False))


def test_folding_again_gives_the_same() -> None:
    """Reading the reply does not use it up."""
    fold = Fold(Operation.CHAT)
    fold.feed(stream([delta({"content": "x"}, finish="stop")]))
    assert fold.json() == fold.json() is not None


TEXT = st.text(max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
LOGPROBS = st.fixed_dictionaries(
    {
        name: st.none() | st.lists(PLAIN.map(lambda x: {"token": x}), min_size=1)
        for name in ("content", "refusal")
    }
)
CALL = st.builds(tool_call, TEXT.filter(bool), TEXT.filter(bool), TEXT)


@st.composite
def messages(draw: st.DrawFn) -> Json:
    """Return any message that an assistant may give."""
    message: Json = {"role": "assistant", "content": draw(TEXT)}
    for name in ("reasoning", "reasoning_content", "refusal", "new_text"):
        if draw(st.booleans()):
            message[name] = draw(st.none() | TEXT)
    if draw(st.booleans()):
        message["tool_calls"] = draw(st.lists(CALL, min_size=1, max_size=3))
    if draw(st.booleans()):
        message["function_call"] = {"name": draw(TEXT.filter(bool)), "arguments": draw(TEXT)}
    if not message["content"] and any(message.get(n) for n in ("tool_calls", "function_call", "refusal")):
        message["content"] = None
    return message


@st.composite
def replies(draw: st.DrawFn) -> Json:
    """Return any plain chat reply."""
    choices = [
        {"index": index, "message": draw(messages()), "finish_reason": draw(TEXT.filter(bool))}
        | ({"logprobs": draw(LOGPROBS)} if draw(st.booleans()) else {})
        for index in range(draw(st.integers(1, 3)))
    ]
    reply = {"id": draw(TEXT), "object": "chat.completion", "choices": choices, "usage": draw(PLAIN)}
    return reply | draw(st.dictionaries(st.sampled_from(["timings", "service_tier", "x"]), PLAIN))


def pieces(draw: st.DrawFn, text: str | None) -> list[str | None]:
    """Return the text cut at drawn places; at least one piece."""
    if not text:
        return [text]
    cuts = sorted(draw(st.sets(st.integers(1, len(text)), max_size=3)) | {0, len(text)})
    return [text[a:b] for a, b in pairwise(cuts)]


def unfolded_message(draw: st.DrawFn, message: Json) -> list[Json]:
    """Return deltas that make the message."""
    deltas: list[Json] = [{"role": message["role"]}]
    for name, value in message.items():
        if name == "tool_calls":
            for index, call in enumerate(value):
                first, *rest = pieces(draw, call["function"]["arguments"])
                function = call["function"] | {"arguments": first}
                deltas.append({name: [call | {"index": index, "function": function}]})
                deltas += [{name: [{"index": index, "function": {"arguments": part}}]} for part in rest]
        elif name == "function_call":
            first, *rest = pieces(draw, value["arguments"])
            deltas.append({name: value | {"arguments": first}})
            deltas += [{name: {"arguments": part}} for part in rest]
        elif name != "role":
            deltas += [{name: part} for part in pieces(draw, value)]
    return deltas


def unfolded(draw: st.DrawFn, reply: Json) -> list[Json]:
    """Return chunks that make the reply: the choices interleaved as drawn, the rest in a last chunk."""
    queues = []
    for choice in reply["choices"]:
        queue = [
            delta(content, index=choice["index"]) for content in unfolded_message(draw, choice["message"])
        ]
        for name, entries in (choice.get("logprobs") or {}).items():
            nothing = dict.fromkeys(choice["logprobs"])
            for entry in entries or []:
                queue.append(delta({}, index=choice["index"], logprobs=nothing | {name: [entry]}))
            queue.append(delta({}, index=choice["index"], logprobs=nothing))
        queues.append([*queue, delta({}, index=choice["index"], finish=choice["finish_reason"])])
    chunks = []
    while queues:
        queue = draw(st.sampled_from(queues))
        chunks.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return [*chunks, reply | {"choices": [], "object": "chat.completion.chunk"}]


@given(st.data())
def test_any_reply_that_was_unfolded_folds_back(data: st.DataObject) -> None:
    """Cut into deltas at any place, choices interleaved in any order, sent in pieces of any size."""
    reply = data.draw(replies())
    sent = stream(unfolded(data.draw, reply))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=8)))
    fold = Fold(Operation.CHAT)
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        fold.feed(sent[start:end])
    result = fold.json()
    assert result is not None, fold.failure
    assert json.loads(result) == reply


def test_every_split_gives_the_same_reply() -> None:
    """A stream with CRLF line ends and non-ASCII text, cut in two at every byte, then fed byte by byte."""
    chunks = [delta({"content": text}) for text in ("é\n", "漢", "🙂")] + [delta({}, finish="stop")]
    sent = stream(chunks).replace(b"\n", b"\r\n") + b": bye\n\n"
    whole = folded(sent)
    for cut in range(len(sent) + 1):
        fold = Fold(Operation.CHAT)
        fold.feed(sent[:cut])
        fold.feed(sent[cut:])
        assert json.loads(fold.json() or b"") == whole
    fold = Fold(Operation.CHAT)
    for byte in sent:
        fold.feed(bytes([byte]))
    assert json.loads(fold.json() or b"") == whole
