"""What a scan forwards, holds back and learns, for every way in which a stream can be cut into feeds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.usage import Usage
from entrepot.wire.answer import MOST_HELD_BYTES, REMEMBERED_BYTES, AnswerScan
from tests.wire.streams import (
    DEEPSEEK,
    DONE,
    EMPTY,
    KEEP_ALIVE,
    LONG,
    OPENAI,
    RECORDINGS_ALL,
    ROLE,
    TOOLS,
    VLLM,
    Recording,
    choice,
    chunk,
    event,
)

BYTES_PER_TOKEN = 4.0


def new_scan(*, hide_usage: bool = True) -> AnswerScan:
    """Return a scan that has seen nothing."""
    return AnswerScan(hide_usage=hide_usage, bytes_per_token=BYTES_PER_TOKEN)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Return the stream in pieces, cut at these places."""
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if b > a]


def relayed(scan: AnswerScan, pieces: list[bytes]) -> bytes:
    """Feed the pieces at times that are the offsets at which they end; return what was forwarded."""
    offset = 0
    out = []
    for piece in pieces:
        offset += len(piece)
        out.append(scan.feed(piece, float(offset)))
    scan.finish(float(offset))
    return b"".join((*out, scan.flush()))


def time_of(recording: Recording, position: int | None, pieces: list[bytes]) -> float | None:
    """Return when the feed came that completed an event."""
    if position is None:
        return None
    offset = 0
    for piece in pieces:
        offset += len(piece)
        if offset >= recording.end_of(position):
            return float(offset)
    raise AssertionError("the event never ended")


def check(recording: Recording, pieces: list[bytes], *, hide_usage: bool) -> None:
    """Assert that all is forwarded and found that the recording says."""
    scan = new_scan(hide_usage=hide_usage)
    forwarded = relayed(scan, pieces)
    assert forwarded == (recording.shown if hide_usage else recording.stream)
    assert scan.usage == recording.usage
    assert scan.first_content_s == time_of(recording, recording.first, pieces)
    assert scan.last_content_s == time_of(recording, recording.last, pieces)
    assert scan.finish_reason == recording.finish_reason
    assert scan.cut_by_length == (recording.finish_reason == "length")
    assert scan.answer_id == recording.answer_id
    assert scan.error is None
    assert scan.done
    if recording.first is not None:
        assert recording.usage is not None
        assert 1 <= scan.first_tokens <= recording.usage.output_tokens
        before = recording.end_of(recording.first - 1) if recording.first else 0
        assert scan.wire_bytes == len(recording.stream) - before


@given(
    recording=st.sampled_from(RECORDINGS_ALL),
    places=st.lists(st.integers(min_value=0), max_size=40),
    hide_usage=st.booleans(),
)
def test_any_split_gives_the_same_answer(recording: Recording, places: list[int], hide_usage: bool) -> None:
    """Where the network cuts a stream changes neither what a client gets nor what is learned of it."""
    check(recording, cut(recording.stream, places), hide_usage=hide_usage)


@pytest.mark.parametrize("recording", RECORDINGS_ALL, ids=lambda recording: recording.name)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_pieces_of_one_size_give_the_same_answer(recording: Recording, size: int) -> None:
    """Byte by byte, cut within characters and line ends, and all at once."""
    stream = recording.stream
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    check(recording, pieces, hide_usage=True)
    check(recording, pieces, hide_usage=False)


@pytest.mark.parametrize("recording", [OPENAI, DEEPSEEK.with_returns()], ids=lambda recording: recording.name)
def test_two_pieces_give_the_same_answer_wherever_they_are_cut(recording: Recording) -> None:
    """Every single place of a cut, without luck."""
    for place in range(1, len(recording.stream)):
        check(recording, cut(recording.stream, [place]), hide_usage=True)


@given(places=st.lists(st.integers(min_value=0), max_size=12), hide_usage=st.booleans())
def test_a_stream_longer_than_what_is_remembered_gives_the_same_answer(
    places: list[int], hide_usage: bool
) -> None:
    """The end is read from what is remembered, however long the stream was."""
    assert len(LONG.stream) > 4 * REMEMBERED_BYTES
    check(LONG, cut(LONG.stream, places), hide_usage=hide_usage)


def test_a_long_stream_of_one_event_per_feed_gives_the_same_answer() -> None:
    """As hosts send them: one event at a time."""
    check(LONG, list(LONG.events), hide_usage=True)


def test_nothing_is_forwarded_before_the_first_content() -> None:
    """A failure before it must be able to go to another endpoint unseen by the client."""
    scan = new_scan()
    assert scan.feed(KEEP_ALIVE, 0.0) == b""
    assert scan.feed(ROLE, 0.1) == b""
    assert not scan.started
    content = chunk(choice(content="Hi"))
    assert scan.feed(content, 0.2) == KEEP_ALIVE + ROLE + content
    assert scan.started
    assert scan.first_content_s == 0.2
    assert scan.feed(KEEP_ALIVE, 0.3) == KEEP_ALIVE


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"content": [{"type": "thinking", "thinking": "x"}]},
        {"reasoning": "x"},
        {"reasoning_content": "x"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "x"}]},
        {"refusal": "No"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f", "arguments": ""}},
        {"audio": {"data": "AAAA"}},
    ],
    ids=lambda delta: next(iter(delta)),
)
def test_each_kind_of_content_starts_the_answer(delta: dict[str, object]) -> None:
    """TTFT ends at the first content of any kind, hidden reasoning included."""
    scan = new_scan()
    scan.feed(chunk(choice(**delta)), 1.0)
    assert scan.started
    assert scan.first_content_s == 1.0
    assert scan.first_tokens >= 1


@pytest.mark.parametrize(
    "block",
    [
        KEEP_ALIVE,
        ROLE,
        chunk(choice(role="assistant", content=None, reasoning_content="", tool_calls=[])),
        chunk(prompt_filter_results=[{"prompt_index": 0}]),
        chunk(choice(obfuscation="abc")),
        b"event: ping\ndata: {}\n\n",
        b"data: not JSON\n\n",
        b"data: [1,2]\n\n",
        b'data: {"choices":5}\n\n',
        b"\n\n",
    ],
)
def test_what_is_no_content_does_not_start_the_answer(block: bytes) -> None:
    """An empty role delta must not pass for a first token, nor may nonsense."""
    scan = new_scan()
    assert scan.feed(block, 1.0) == b""
    assert not scan.started
    assert scan.error is None


@pytest.mark.parametrize(
    ("block", "message", "code"),
    [
        (event({"error": {"message": "overloaded", "code": 503}}), "overloaded", "503"),
        (event({"error": "out of memory"}), "out of memory", None),
        (event({"object": "error", "message": "bad", "code": 400}), "bad", "400"),
        (b"event: error\n" + event({"message": "no capacity"}), "no capacity", None),
        (
            chunk(choice("error", content=""), error={"code": 429, "message": "rate limited"}),
            "rate limited",
            "429",
        ),
    ],
)
def test_an_error_before_the_first_content_is_known_at_once(block: bytes, message: str, code: str) -> None:
    """It comes after a 200, and must fail over all the same."""
    scan = new_scan()
    assert scan.feed(ROLE, 0.0) == b""
    assert scan.feed(block + chunk(choice(content="never")), 0.1) == b""
    assert scan.error is not None
    assert tuple(scan.error) == (message, code)
    assert not scan.started
    assert scan.feed(DONE, 0.2) == b""
    scan.finish(0.3)
    assert not scan.done


def test_an_error_in_the_middle_of_the_answer_is_found_at_the_end() -> None:
    """A cut answer is not presented as a success; what came before it was content."""
    scan = new_scan()
    scan.feed(ROLE + chunk(choice(content="Hi")), 1.0)
    scan.feed(chunk(choice(content=" there")), 2.0)
    scan.feed(event({"error": {"message": "GPU lost"}}), 3.0)
    scan.finish(3.0)
    assert scan.error is not None
    assert scan.error.message == "GPU lost"
    assert scan.last_content_s == 2.0
    assert not scan.done


def test_a_json_error_instead_of_a_stream_is_an_error() -> None:
    """Some hosts answer a stream request with status 200 and an error in JSON."""
    scan = new_scan()
    assert scan.feed(b'{"error":{"message":"model is loading","code":"busy"}}', 0.0) == b""
    scan.finish(0.1)
    assert scan.error is not None
    assert tuple(scan.error) == ("model is loading", "busy")


def test_a_stream_that_just_stops_is_not_done() -> None:
    """No finish reason and no [DONE]: the answer was cut, whatever the status said."""
    scan = new_scan()
    forwarded = relayed(scan, [ROLE, chunk(choice(content="Hi")), b'data: {"choices":[{"del'])
    assert not scan.done
    assert scan.usage is None
    assert forwarded.endswith(b'data: {"choices":[{"del')


def test_an_empty_answer_goes_through_without_a_first_content() -> None:
    """A regular end without content is an answer, not a failure; it has no TTFT."""
    scan = new_scan()
    forwarded = relayed(scan, list(EMPTY.events))
    assert forwarded == EMPTY.shown
    assert scan.first_content_s is None
    assert scan.tpot_s() is None
    assert scan.estimated_output_tokens(1.0) == 0


def test_a_stream_without_a_last_line_end_is_read_and_passed_whole() -> None:
    """Some hosts end the connection right after [DONE]."""
    scan = new_scan()
    stream = (OPENAI.stream).removesuffix(b"\n\n")
    assert relayed(scan, [stream[:300], stream[300:]]) == OPENAI.shown.removesuffix(b"\n\n")
    assert scan.done


def test_an_unterminated_usage_chunk_at_the_end_is_hidden_too() -> None:
    """A client that did not ask for usage never sees it, however the host ends its stream."""
    scan = new_scan()
    body, usage = b"".join(OPENAI.events[:5]), OPENAI.events[5].rstrip()
    assert relayed(scan, [body, usage]) == body
    assert scan.usage == OPENAI.usage


def test_content_that_only_comes_unterminated_at_the_end_counts() -> None:
    """The end of the stream ends its last event."""
    scan = new_scan()
    piece = chunk(choice("stop", content="Hi")).rstrip()
    assert relayed(scan, [piece]) == piece
    assert scan.done
    assert scan.first_content_s == float(len(piece))


def test_an_answer_that_starts_too_late_is_let_through() -> None:
    """What is held is bounded: after 1 MiB without content the client gets it as it is."""
    scan = new_scan()
    filler = b": " + b"x" * 100_000 + b"\n\n"
    forwarded = b"".join(scan.feed(filler, 0.0) for _ in range(12))
    assert scan.started
    assert MOST_HELD_BYTES < len(forwarded) == 12 * len(filler)
    assert scan.first_content_s is None


def test_a_large_event_is_not_held_back_for_ever_while_usage_is_hidden() -> None:
    """An incomplete event waits only as long as it may be the usage chunk."""
    scan = new_scan()
    scan.feed(chunk(choice(content="Hi")), 0.0)
    large = chunk(choice(content="y" * 100_000))
    out = b"".join(scan.feed(large[at : at + 5_000], 0.1) for at in range(0, len(large), 5_000))
    assert out == large


def test_keep_alives_after_the_last_content_do_not_count_as_content() -> None:
    """TPOT ends at the last content, not at the end of the stream."""
    scan = new_scan()
    scan.feed(chunk(choice(content="one")), 1.0)
    scan.feed(chunk(choice(content=" two")), 2.0)
    for _ in range(20):
        scan.feed(KEEP_ALIVE, 3.0)
    scan.feed(chunk(choice("stop")) + DONE, 4.0)
    scan.finish(4.0)
    assert scan.last_content_s == 2.0


def test_after_very_many_keep_alives_the_oldest_remembered_feed_stands_in() -> None:
    """What a scan holds does not grow with the stream, and what is forgotten cannot be dated."""
    scan = new_scan()
    scan.feed(chunk(choice(content="one")), 1.0)
    for n in range(10_000):
        scan.feed(KEEP_ALIVE, 2.0 + n)
    scan.finish(20_000.0)
    assert scan.last_content_s is not None
    assert 10_002.0 - 3 * REMEMBERED_BYTES / len(KEEP_ALIVE) < scan.last_content_s < 10_002.0


@pytest.mark.parametrize(
    ("usage_bytes", "piece_bytes"),
    [(REMEMBERED_BYTES - 100, 1), (REMEMBERED_BYTES - 100, 100), (8_000, 4_000), (60_000, 30_000)],
)
def test_usage_is_found_in_many_small_pieces_or_few_large_ones(usage_bytes: int, piece_bytes: int) -> None:
    """Usage is money: what is remembered holds a chunk of so many bytes, or of so many feeds."""
    usage = {"prompt_tokens": 3, "completion_tokens": 900, "note": ""}
    usage["note"] = "x" * (usage_bytes - len(chunk(usage=usage)))
    stream = b"".join((*LONG.events[:402], chunk(choice("stop")), chunk(usage=usage), DONE))
    for hide_usage in (True, False):
        scan = new_scan(hide_usage=hide_usage)
        relayed(scan, [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)])
        assert scan.usage == Usage(uncached_tokens=3, output_tokens=900)
        assert scan.last_content_s is not None


def test_usage_in_the_chunk_with_the_finish_reason_is_forwarded() -> None:
    """DeepSeek's last chunk is not the extra one of `include_usage`: to hide it would hide the end."""
    scan = new_scan()
    assert relayed(scan, list(DEEPSEEK.events)) == DEEPSEEK.stream
    assert scan.usage == DEEPSEEK.usage


def test_continuous_usage_counts_the_first_tokens_exactly() -> None:
    """Where the host counts as it goes, nothing is estimated."""
    scan = new_scan(hide_usage=False)
    assert relayed(scan, list(VLLM.events)) == VLLM.stream
    assert scan.first_tokens == 1


def test_tokens_that_came_with_the_first_content_are_estimated_from_their_text() -> None:
    """A feed of many chunks brings many tokens at once: they took no time of their own."""
    scan = new_scan()
    words = [chunk(choice(content="12345678")) for _ in range(10)]
    scan.feed(ROLE + b"".join(words), 1.0)
    assert scan.first_tokens == 20
    one = new_scan()
    one.feed(chunk(choice(content="1234")), 1.0)
    assert one.first_tokens == 1


def test_tpot_is_the_time_between_first_and_last_content_per_token_after_the_first() -> None:
    """DESIGN.md §2: neither TTFT nor the tokens of the first chunk are in it."""
    scan = new_scan()
    scan.feed(chunk(choice(content="1234")), 10.0)
    scan.feed(chunk(choice(content="5678")), 12.0)
    scan.feed(chunk(usage={"prompt_tokens": 3, "completion_tokens": 5}) + DONE, 99.0)
    scan.finish(99.0)
    assert scan.tpot_s() == pytest.approx(0.5)
    assert scan.tpot_s(21) == pytest.approx(0.1)
    assert scan.tpot_s(1) is None


def test_hidden_reasoning_belongs_to_ttft_and_not_to_tpot() -> None:
    """Tokens that were never streamed took no time between the first content and the last."""
    end = chunk(
        usage={
            "prompt_tokens": 3,
            "completion_tokens": 1005,
            "completion_tokens_details": {"reasoning_tokens": 1000},
        }
    )
    hidden, shown = new_scan(), new_scan()
    hidden.feed(chunk(choice(content="1234")), 10.0)
    shown.feed(chunk(choice(reasoning_content="1234")), 10.0)
    for scan in (hidden, shown):
        scan.feed(chunk(choice(content="5678")), 12.0)
        scan.feed(end + DONE, 13.0)
        scan.finish(13.0)
    assert (hidden.first_tokens, hidden.tpot_s()) == (1001, pytest.approx(0.5))
    assert (shown.first_tokens, shown.tpot_s()) == (1, pytest.approx(2 / 1004))


def test_tpot_is_unknown_when_all_content_came_at_once() -> None:
    """No time passed between first and last content: that is no speed."""
    scan = new_scan()
    relayed(scan, [OPENAI.stream])
    assert scan.tpot_s() is None


def test_tokens_of_a_cut_stream_are_estimated_from_bytes_and_never_from_chunks() -> None:
    """806 deltas were once logged as one token; a chunk may also hold twenty."""
    scan = new_scan()
    scan.feed(ROLE, 0.0)
    piece = chunk(choice(content="word word word"))
    for _ in range(10):
        scan.feed(piece, 1.0)
    scan.finish(1.0)
    assert scan.wire_bytes == 10 * len(piece)
    assert scan.estimated_output_tokens(0.01) == -(-10 * len(piece) // 100)


def test_a_choice_that_was_cut_makes_the_answer_cut() -> None:
    """Observations that were cut by max_tokens are only *at least*."""
    scan = new_scan()
    end = chunk(choice("length"), choice("stop", index=1))
    relayed(scan, [chunk(choice(content="a"), choice(content="b", index=1)), end, DONE])
    assert scan.cut_by_length
    assert scan.finish_reason == "length"


def test_finishing_twice_changes_nothing_and_flushing_twice_gives_nothing() -> None:
    """The relay may end an attempt from several sides at once."""
    scan = new_scan()
    relayed(scan, list(TOOLS.events))
    before = (scan.usage, scan.last_content_s, scan.done)
    scan.finish(1e9)
    assert (scan.usage, scan.last_content_s, scan.done) == before
    assert scan.flush() == b""


@given(st.lists(st.binary(max_size=60) | st.sampled_from(OPENAI.events), max_size=12), st.booleans())
def test_no_bytes_of_a_host_make_a_scan_fail(pieces: list[bytes], hide_usage: bool) -> None:
    """Whatever a host sends, the scan goes on, and forwards no byte that the host did not send."""
    scan = new_scan(hide_usage=hide_usage)
    forwarded = relayed(scan, pieces)
    if not hide_usage and scan.error is None:
        assert forwarded == b"".join(pieces)
    assert scan.usage is None or isinstance(scan.usage, Usage)
