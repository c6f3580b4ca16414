"""Request bodies: what is read of them, and what the host gets."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import fields as struct_fields

from entrepot.domain.endpoint import Operation
from entrepot.domain.ids import session_of
from entrepot.domain.request import DEFAULT_PROBABILITY, MaxPrice, Preferences, SenderFacts, Slo
from entrepot.wire.body import host_body
from entrepot.wire.body_shape import Provider, SloShape
from entrepot.wire.body_wishes import Caps
from tests.wire.bodies import CHAT, COMPLETION, EMBEDDING, MESSAGES, MINIMAL, accepted, parsed, sent

Fields = dict[str, object]


# -- what is read


def test_a_minimal_request_is_read() -> None:
    """Model and size are known, the rest has the defaults of the API."""
    body = parsed()
    request = body.request
    assert request.models == ("deepseek/deepseek-r1",)
    assert request.prompt_bytes == len(json.dumps(MINIMAL[CHAT]))
    assert (request.max_output_tokens, request.choices, request.stream) == (None, 1, False)
    assert (request.slo, request.preferences) == (Slo(), Preferences())
    assert not body.stream
    assert not body.include_usage


def test_the_model_is_the_first_of_the_models() -> None:
    """OpenRouter's list: without `model` its first is the model; no model is in it twice."""
    assert parsed(models=["b/b", "deepseek/deepseek-r1", "b/b"]).request.models == (
        "deepseek/deepseek-r1",
        "b/b",
    )
    assert parsed(model=None, models=["b/b", "c/c"]).request.models == ("b/b", "c/c")
    assert parsed(models=[]).request.models == ("deepseek/deepseek-r1",)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 9),
        ({"max_tokens": None}, None),
    ],
)
def test_the_larger_of_two_limits_counts(fields: dict[str, object], tokens: int | None) -> None:
    """A host may know only one of the two names, and a reservation is an upper bound."""
    assert parsed(**fields).request.max_output_tokens == tokens


@pytest.mark.parametrize(
    ("operation", "fields", "choices"),
    [
        (CHAT, {"n": 3}, 3),
        (CHAT, {"n": None}, 1),
        (COMPLETION, {"n": 2, "prompt": ["a", "b", "c"]}, 6),
        (COMPLETION, {"n": 2, "best_of": 5}, 5),
        (COMPLETION, {"best_of": 4, "prompt": [[1, 2], [3]]}, 8),
        (COMPLETION, {"prompt": [1, 2, 3]}, 1),
        (COMPLETION, {"prompt": ""}, 1),
        (EMBEDDING, {"input": ["a", "b"]}, 1),
        (EMBEDDING, {"input": [1, 2]}, 1),
    ],
)
def test_choices_are_answers_that_are_paid_for(operation: Operation, fields: Fields, choices: int) -> None:
    """`n` for each prompt, or `best_of` when more are made than returned; an array of tokens is one."""
    assert parsed(operation, **fields).request.choices == choices


def test_stream_options_say_whether_the_client_wants_usage() -> None:
    """GuideLLM's extra option must pass, never be refused."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert parsed(stream=True, stream_options=options).include_usage
    assert not parsed(stream=True, stream_options={"continuous_usage_stats": True}).include_usage
    assert not parsed(stream=True, stream_options=None).include_usage
    assert parsed(stream=True).request.stream


def test_parameters_are_what_an_endpoint_might_not_take() -> None:
    """Neither our own fields nor those that every endpoint takes are among them."""
    body = parsed(
        stream=True,
        stream_options={},
        user="u",
        provider={},
        slo={},
        models=[],
        route="fallback",
        tools=[],
        temperature=1,
        max_tokens=5,
        min_p=0.1,
    )
    assert body.request.parameters == {"tools", "temperature", "max_tokens", "min_p"}


def test_the_provider_object_is_read() -> None:
    """All of OpenRouter's fields that this gateway honours; dollars become exact nano-dollars."""
    body = parsed(
        provider={
            "order": ["a", "b"],
            "only": ["a", "b", "c"],
            "ignore": ["d"],
            "allow_fallbacks": False,
            "sort": "throughput",
            "max_price": {"prompt": 0.55, "completion": "2.19", "request": 0},
            "quantizations": ["fp8"],
            "data_collection": "deny",
            "zdr": True,
            "require_parameters": True,
            "preferred_min_throughput": 50,
            "preferred_max_latency": {"p50": 1.5},
        }
    )
    assert body.request.preferences == Preferences(
        order=("a", "b"),
        only=("a", "b", "c"),
        ignore=("d",),
        allow_fallbacks=False,
        sort="throughput",
        max_price=MaxPrice(550_000_000, 2_190_000_000, 0),
        quantizations=("fp8",),
        data_collection="deny",
        zero_data_retention=True,
        require_parameters=True,
        min_tokens_per_s=50.0,
        max_ttft_s=1.5,
    )


def test_null_means_not_given() -> None:
    """SDKs write null for what was not set."""
    no_preferences = {field.name: None for field in struct_fields(Provider)}
    no_limits = {field.name: None for field in struct_fields(SloShape)}
    body = parsed(provider=no_preferences, slo=no_limits, stream=None, n=None, max_tokens=None)
    assert (body.request.preferences, body.request.slo) == (Preferences(), Slo())
    assert parsed(provider=None, slo=None).request.preferences == Preferences()


def test_sort_has_a_long_form() -> None:
    """`{"by": …}` is the same wish."""
    assert parsed(provider={"sort": {"by": "price", "partition": None}}).request.preferences.sort == "price"


@pytest.mark.parametrize(
    ("fields", "in_order"),
    [
        ({}, False),
        ({"route": None}, False),
        ({"route": "fallback"}, True),
        ({"route": "sort"}, False),
        ({"provider": {"sort": "price"}}, False),
        ({"provider": {"sort": {"partition": "model"}}}, True),
        ({"provider": {"sort": {"by": "price", "partition": "none"}}}, False),
        ({"route": "fallback", "provider": {"sort": {"partition": "model"}}}, True),
    ],
)
def test_models_are_one_set_unless_an_order_is_asked_for(fields: Fields, in_order: bool) -> None:
    """OpenRouter's two fields for it: the older `route`, and `provider.sort.partition`."""
    assert parsed(models=["a/x", "b/y"], **fields).request.in_order is in_order


@pytest.mark.parametrize(
    ("usd", "nusd"),
    [
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("0.0000000001", 1),
        ("1.0000000000000000000000000000000000000000001", 1_000_000_001),
        ("0", 0),
        ("-0", 0),
        ("1e-400", 1),
        ("1000000", 10**15),
    ],
)
def test_dollars_become_exact_nano_dollars_rounded_up(usd: str, nusd: int) -> None:
    """A limit finer than we count must not shut out the amount it names; no float is in between."""
    body = accepted(b'{"model":"a","slo":{"max_usd":%b},' % usd.encode() + MESSAGES)
    assert body.request.slo.max_nusd == nusd


def test_the_slo_object_is_read() -> None:
    """Seconds, tokens per second and USD per hour as they are, dollars as nano-dollars."""
    slo = {"ttft_s": 0.5, "tokens_per_s": 30, "answer_s": 20, "max_usd": 0.01, "usd_per_hour": 0}
    assert parsed(slo=slo).request.slo == Slo(0.5, 30.0, 20.0, 10_000_000, 0.0, DEFAULT_PROBABILITY)
    sure = {"probability": 0.99, "otherwise": "nearest"}
    assert parsed(slo=sure).request.slo == Slo(probability=0.99, serves_nearest=True)
    assert not parsed(slo={"otherwise": "refuse"}).request.slo.serves_nearest


# -- what is known of the sender


def test_the_request_tells_whose_it_is() -> None:
    """Its key and its task tag say whose verbosity counts."""
    request = accepted(json.dumps(MINIMAL[CHAT]).encode(), sender=SenderFacts(7, 3)).request
    assert (request.key_id, request.tag_id, request.slo) == (7, 3, Slo())


@pytest.mark.parametrize(
    ("slo", "usd_per_hour"),
    [
        (None, 20.0),
        ({}, 20.0),
        ({"ttft_s": 1}, 20.0),
        ({"usd_per_hour": 0}, 0.0),
        ({"usd_per_hour": 30}, 30.0),
    ],
)
def test_the_value_of_time_of_a_key_counts_where_the_request_names_none(
    slo: object, usd_per_hour: float
) -> None:
    """The request's own word wins, 0 included."""
    text = json.dumps(MINIMAL[CHAT] | {"slo": slo}).encode()
    assert accepted(text, sender=SenderFacts(1, 0, 20.0)).request.slo.usd_per_hour == usd_per_hour


def test_the_value_of_time_of_a_key_is_held_within_its_caps() -> None:
    """What a request could not name, a key does not get around."""
    body = accepted(
        json.dumps(MINIMAL[CHAT]).encode(), caps=Caps(usd_per_hour=8), sender=SenderFacts(1, 0, 20)
    )
    assert body.request.slo == Slo(usd_per_hour=8)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, None),
        ({"user": "u"}, b"u"),
        ({"user": "u", "prompt_cache_key": "c"}, b"c"),
        ({"user": "u", "prompt_cache_key": "c", "session_id": "s"}, b"s"),
        ({"user": "u", "prompt_cache_key": None, "session_id": ""}, b"u"),
        ({"user": 5}, None),
        ({"user": {"a": "b"}}, None),
    ],
)
def test_a_conversation_is_what_the_sender_calls_it(fields: Fields, name: bytes | None) -> None:
    """A digest, of the key too: two senders may use one name. What is not a text is the host's to refuse."""
    text = json.dumps(MINIMAL[CHAT] | fields).encode()
    session = accepted(text, sender=SenderFacts(7)).request.session
    assert session == (0 if name is None else session_of(7, name))
    assert 0 <= session < 2**63
    assert session == 0 or session != accepted(text, sender=SenderFacts(8)).request.session
    assert accepted(text, sender=SenderFacts(7), session=5).request.session == 5


# -- what the host gets


def test_unknown_fields_reach_the_host_as_they_were_written() -> None:
    """Bytes, not values: a number keeps its digits, a string its escapes."""
    fields = b'"x":1.10000000000000000000001,"y":"\\u00e9\\/","z":[ 1 , {"a":null} ]'
    body = accepted(b'{"model":"a",' + fields + b"," + MESSAGES)
    assert fields in host_body(body, model="b", usage_in_stream=True)


def test_the_model_is_rewritten_and_our_fields_are_removed() -> None:
    """A host sees its own name for the model, and none of our wishes."""
    body = parsed(models=["b/b"], route="sort", provider={"order": ["a"]}, slo={"ttft_s": 1}, temperature=0)
    assert sent(body) == MINIMAL[CHAT] | {"model": "r1", "temperature": 0}
    assert sent(parsed(model=None, models=["b/b"]), model='quo"te')["model"] == 'quo"te'


def test_a_field_given_twice_reaches_the_host_once() -> None:
    """What we checked is what is sent: a second `model` or limit cannot slip through."""
    body = accepted(b'{"model":"x","max_tokens":5,"max_tokens":6,"model":"a",' + MESSAGES)
    written = host_body(body, model="b", usage_in_stream=True)
    assert (body.request.models, body.request.max_output_tokens) == (("a",), 6)
    assert written.count(b'"model"') == written.count(b'"max_tokens"') == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_usage": True}, {"include_usage": True}),
        ({"continuous_usage_stats": True}, {"include_usage": True, "continuous_usage_stats": True}),
        ({"include_usage": None, "chunk_size": 4}, {"include_usage": True, "chunk_size": 4}),
    ],
)
def test_a_stream_asks_the_host_for_usage(options: object, expected: object) -> None:
    """The ledger needs it even where the client does not; other options are kept."""
    assert sent(parsed(stream=True, stream_options=options))["stream_options"] == expected


def test_usage_is_not_asked_for_where_it_does_not_belong() -> None:
    """Not of plain calls, and not of hosts that do not take the option."""
    assert "stream_options" not in sent(parsed())
    assert "stream_options" not in sent(parsed(stream=True), usage_in_stream=False)
    assert "stream_options" not in sent(parsed(stream=True), drop=frozenset({"stream_options"}))


def test_a_plain_call_can_be_driven_as_a_stream() -> None:
    """For hosts that do not cancel plain calls."""
    assert sent(parsed(stream=False), force_stream=True) == MINIMAL[CHAT] | {
        "model": "r1",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("fields", "drop", "expected"),
    [
        ({}, (), {"max_tokens": 50}),
        ({"max_tokens": None}, (), {"max_tokens": 50}),
        ({"max_completion_tokens": 9}, (), {"max_completion_tokens": 50}),
        ({"max_completion_tokens": 9, "max_tokens": 9}, (), {"max_completion_tokens": 50, "max_tokens": 50}),
        ({}, ("max_tokens",), {"max_completion_tokens": 50}),
        ({"max_completion_tokens": 9}, ("max_completion_tokens",), {"max_tokens": 50}),
        ({"max_tokens": 9}, ("max_tokens", "max_completion_tokens"), {}),
    ],
)
def test_the_limit_is_replaced_under_the_name_that_is_taken(
    fields: Fields, drop: tuple[str, ...], expected: Fields
) -> None:
    """The client's own name for it, unless the host takes only the other."""
    body = parsed(**fields)
    assert (
        sent(body, max_output_tokens=50, drop=frozenset(drop)) == MINIMAL[CHAT] | {"model": "r1"} | expected
    )


def test_a_limit_that_the_host_calls_otherwise_is_not_lost() -> None:
    """Dropping it would make the reservation no upper bound."""
    assert sent(parsed(max_tokens=9), drop=frozenset({"max_tokens"}))["max_completion_tokens"] == 9


def test_parameters_that_the_host_does_not_take_are_dropped() -> None:
    """Configured per host."""
    assert "seed" not in sent(parsed(seed=5, temperature=1), drop=frozenset({"seed", "absent"}))


def test_an_embedding_gets_no_output_limit() -> None:
    """It has no output."""
    assert sent(parsed(EMBEDDING), max_output_tokens=50) == MINIMAL[EMBEDDING] | {"model": "r1"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 50_000, "format": "wav"}},
        {"type": "file", "file": {"data": "data:application/pdf;base64," + "A" * 50_000}},
    ],
)
def test_files_written_into_the_body_are_not_text(part: Fields) -> None:
    """Their bytes bound what a request can cost, and say nothing of its tokens."""
    content = [{"type": "text", "text": "What is this?"}, part]
    text = json.dumps({"model": "m/x", "messages": [{"role": "user", "content": content}]}).encode()
    request = accepted(text).request
    assert request.prompt_bytes == len(text)
    assert request.attachment_bytes == 50_000
    assert request.text_bytes == len(text) - 50_000


def plain_attachment_bytes(body: bytes) -> int:
    """Return what `attachment_bytes` is, by three searches: what the faster way is held to."""
    found = 0
    for marker in (b";base64,", b'"data":"', b'"data": "'):
        start = body.find(marker)
        while start >= 0:
            start += len(marker)
            end = body.find(b'"', start)
            end = len(body) if end < 0 else end
            found += end - start
            start = body.find(marker, end)
    return found


_TEXTS = st.lists(
    st.sampled_from(["data", ";base64,", "AAAA", '"', ":", " ", '"data":"', ";", "\\", "é"]), max_size=6
).map("".join)
_NAMES = st.one_of(st.just("data"), _TEXTS)
_CONTENTS = st.recursive(
    st.one_of(_TEXTS, st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_NAMES, inner, max_size=4)),
    max_leaves=12,
)


@given(_CONTENTS, st.booleans())
def test_attachments_are_found_as_by_searching_for_each_marker(content: object, spaced: bool) -> None:
    """However a body nests fields and quotes them; a data URL in a field called data is told apart above."""
    separators = None if spaced else (",", ":")
    fields = {"model": "m/x", "messages": [{"role": "user", "content": content}]}
    text = json.dumps(fields, separators=separators).encode()
    assume(b'"data":"data:' not in text.replace(b'": "', b'":"'))
    assert accepted(text).request.attachment_bytes == plain_attachment_bytes(text)
