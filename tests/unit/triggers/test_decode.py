from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime

import ormsgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meta.triggers.cloud_events import joined
from meta.triggers.decode import Place, decode, undecoded
from meta.triggers.encodings import MAX_DEPTH
from tests.support.messages import ENVELOPE, MAX, PLACE, STORED, ce_headers, encodings, read, structured, values
from workflows.errors import EventMalformed
from workflows.values import JsonObject, JsonValue, canonical_json

MSGPACK = {"Content-Type": "application/msgpack"}
anything = st.text(max_size=30)
names = st.sampled_from(
    ["Content-Type", "content-type", "ce-id", "Ce-Source", "ce-type", "CE-specversion", "ce-time", "ce-datacontenttype",
     "Nats-Msg-Id", "traceparent", "tracestate", "baggage", "ce-traceparent"]
)  # fmt: skip
types = st.sampled_from(
    ["application/json", "application/msgpack", "application/cloudevents+json", "text/plain", "1.0", "a%C3%A9"]
)
headers_of_anybody = st.none() | st.dictionaries(names | anything, types | anything, max_size=8)


@given(values)
@example({"a": [1, 2.5, "é", None, True], "": {}})
def test_a_value_comes_out_of_every_encoding_as_it_went_in(value: JsonValue) -> None:
    for name, (data, headers) in encodings(value).items():
        found = read(data, headers).data
        assert found == value, name
        assert canonical_json(found) == canonical_json(value), name


@given(st.binary(max_size=60), headers_of_anybody)
@example(b"\x91" * 3000 + b"\xc0", None)
@example(b"[" * 100_000, None)
@example(b"[" * 150 + b"]" * 150, None)
@example(b'{"a": ' + b"9" * 5000 + b"}", None)
@example(
    b"{}",
    {"ce-id": "a", "ce-source": "b", "ce-type": "c", "ce-specversion": "1.0", "ce-time": "0001-01-01T00:00:00+14:00"},
)
@example(b"{}", {"ce-id": "%ff", "ce-source": "b", "ce-type": "c", "ce-specversion": "1.0"})
def test_bytes_and_headers_of_anybody_give_an_event_or_say_why_not(data: bytes, headers: dict[str, str] | None) -> None:
    known = undecoded("a.b", data, headers, PLACE)
    assert known.data is None
    assert known.raw == data
    canonical_json({"identity": known.identity, "headers": dict(known.headers), "id": known.id})
    try:
        event = read(data, headers)
    except EventMalformed as error:
        assert error.message
        assert error.hint
        return
    canonical_json(event.view())
    assert "\0" not in event.identity + event.id + "".join(event.headers.values())
    assert event.identity
    assert event.time.utcoffset() == UTC.utcoffset(None)


def test_no_data_is_null() -> None:
    for headers in (None, {}, MSGPACK, {"Content-Type": "application/json"}, ce_headers(ENVELOPE)):
        assert read(b"", headers).data is None
    assert read(*structured({})).data is None


def test_a_message_beyond_the_limit_is_refused_unread() -> None:
    assert read(b'"ab"', max_bytes=4).data == "ab"
    with pytest.raises(EventMalformed, match="has 5 bytes, 4 at most") as refused:
        read(b"{{{{{", max_bytes=4)
    assert "nats.max_event" in refused.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{not json", "is no JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" stands twice'),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"[1e999]", r"\[0\]: a number that is not finite"),
        (b"[18446744073709551616]", "an integer beyond 64 bits"),
        (b"[" + b"9" * 5000 + b"]", "is no JSON: Exceeds the limit"),
        (b"[-9223372036854775809]", "an integer beyond 64 bits"),
        (b'{"a": [0, {"b": "\\ud800"}]}', r"a\[1\].b: broken text: half of a character"),
        (b'{"a": "x\\u0000y"}', r"a: a text with the character U\+0000"),
        (b'{"\\udfff": 1}', "a key is broken text"),
        (b'{"a": "\xff"}', "is no UTF-8: byte 7 is 0xff"),
        (b'"\xed\xa0\x80"', "is no UTF-8"),
        (b"[" * 101 + b"]" * 101, "nested more than 100 deep"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b"{} {}", "is no JSON: Extra data"),
        (b"\xc0", "is no UTF-8"),  # MessagePack's nil: without a content type maps and lists alone
    ],
)
def test_what_json_cannot_carry_is_refused_with_the_place(data: bytes, words: str) -> None:
    with pytest.raises(EventMalformed, match=words):
        read(data)


def test_json_as_deep_as_is_allowed_and_with_a_byte_order_mark_is_read() -> None:
    assert read(b"\xef\xbb\xbf[1]").data == [1]
    assert read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).data is not None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x81\xa1a\xc4\x02hi", "a: bytes"),
        (ormsgpack.packb({"a": [1, math.nan]}), r"a\[1\]: a number that is not finite"),
        (ormsgpack.packb([math.inf]), "not finite"),
        (b"\x81\x01\x02", "a key is an integer, not a text"),
        (b"\x81\xc4\x01a\x02", "a key is bytes"),
        (b"\x81\x91\x01\x02", "a key is a list"),
        (b"\x91\xd4\x05a", "MessagePack's extension type 5"),
        (b"\x91\xd4\xffa", "a MessagePack timestamp of 1 bytes"),
        (b"\x91\xd7\xff" + b"\xff" * 8, "more than a second of nanoseconds"),
        (b"\x91\xc7\x0c\xff" + b"\0" * 4 + b"\x7f" + b"\xff" * 7, "outside the years"),
        (b"\x91" * 101 + b"\xc0", "nested more than 100 deep"),
        (b"\x91" * 3000 + b"\xc0", "nested more than 100 deep"),
        (b"\x91\xa2a\0", r"U\+0000"),
        (b"\x91\xa3\xed\xa0\x80", "no MessagePack: invalid UTF-8"),
        (b"\x82\xa1a\x01", "no MessagePack|not one whole"),
        (b"\x91\x01\x02", "not one whole MessagePack value"),
        (b"\xdd\xff\xff\xff\xff", "no MessagePack"),
        (b"\xc1", "no MessagePack"),
    ],
)
def test_what_json_does_not_have_is_refused_in_messagepack(value: bytes, words: str) -> None:
    with pytest.raises(EventMalformed, match=words):
        read(value, MSGPACK)


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"\xd6\xff\0\0\0\1", "1970-01-01T00:00:01Z"),
        (b"\xd7\xff" + ((123_456_789 << 34) | 1_767_323_045).to_bytes(8), "2026-01-02T03:04:05.123456789Z"),
        (b"\xc7\x0c\xff" + (500_000_000).to_bytes(4) + (-1).to_bytes(8, signed=True), "1969-12-31T23:59:59.5Z"),
        (b"\xc7\x0c\xff" + bytes(4) + (-62135596800).to_bytes(8, signed=True), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_messagepack_timestamp_becomes_text(packed: bytes, text: str) -> None:
    assert read(b"\x81\xa1t" + packed).data == {"t": text}


def test_text_stays_text_and_unknown_content_types_are_refused() -> None:
    assert read(b"caf\xc3\xa9", {"Content-Type": "text/plain"}).data == "café"
    with pytest.raises(EventMalformed, match="no UTF-8"):
        read(b"caf\xe9", {"Content-Type": "text/plain"})
    with pytest.raises(EventMalformed, match="'application/xml', which is not read"):
        read(b"<a/>", {"Content-Type": "application/xml"})
    assert read(b"[1]", {"Content-Type": "application/octet-stream"}).data == [1]


def test_an_identity_is_the_cloudevents_then_the_publishers_then_the_place() -> None:
    place = "nats:seq:DATA:2026-01-01T00:00:00Z:7"
    assert (read(b"{}").identity, read(b"{}").id) == (place, "")
    assert (read(b"{}", {"nats-msg-id": ""}).identity, read(b"{}", {"x": "y"}).identity) == (place, place)
    own = read(b"{}", {"nats-MSG-id": "batch 1"})
    assert (own.identity, own.id) == ("nats:id:batch 1", "batch 1")
    for headers, data in [
        (ce_headers(ENVELOPE) | {"Nats-Msg-Id": "x"}, b"{}"),
        ({"Nats-Msg-Id": "x"}, structured({})[0]),
    ]:
        event = read(data, headers)
        assert (event.identity, event.id) == ("ce:/lake:e-1", "e-1")
    long = read(b"{}", {"Nats-Msg-Id": "x" * 401}).identity
    assert long.startswith("nats:id:sha256:")
    assert len(long) < 100


def test_a_publishers_id_that_is_no_text_is_none_or_its_digest() -> None:
    assert read(b"{}", {"Nats-Msg-Id": "a\ufffd"}).identity.startswith("nats:seq:"), "two ids would look like one"
    odd = [read(b"{}", {"Nats-Msg-Id": text}).identity for text in ("a\0", "a\x01")]
    assert len(set(odd)) == 2
    assert all(identity.startswith("nats:id:sha256:") for identity in odd)


@given(st.tuples(st.text("a:%3A25", max_size=6), st.text("a:%3A25", max_size=6)), st.data())
def test_source_and_id_together_are_never_another_pairs(pair: tuple[str, str], data: st.DataObject) -> None:
    other = data.draw(st.tuples(st.text("a:%3A25", max_size=6), st.text("a:%3A25", max_size=6)))
    assert (joined(*pair) == joined(*other)) == (pair == other)


def test_what_was_refused_keeps_the_identity_of_its_headers() -> None:
    assert undecoded("a", b"{", ce_headers(ENVELOPE), PLACE).identity == "ce:/lake:e-1"
    assert undecoded("a", b"{", {"Nats-Msg-Id": "m"}, PLACE).identity == "nats:id:m"
    assert undecoded("a", b"{", {"ce-id": "only"}, PLACE).identity == "nats:seq:DATA:2026-01-01T00:00:00Z:7"
    event = undecoded("a.b", b"{", {"x": "y"}, PLACE)
    assert (event.subject, event.raw, event.headers, event.deliveries) == ("a.b", b"{", {"x": "y"}, 2)


def test_the_time_is_the_events_own_else_when_it_was_stored() -> None:
    assert read(b"{}").time == STORED
    assert read(*structured({})).time == STORED
    for time in ("2026-03-04T06:06:07.5+01:00", "2026-03-04t05:06:07.500000000z"):
        event = read(*structured({"time": time}))
        assert event.time.isoformat() == "2026-03-04T05:06:07.500000+00:00"
        assert event.attributes["time"] == time


def test_a_cloudevent_in_headers_is_decoded_by_the_rules_of_the_binding() -> None:
    headers = {
        "CE-SpecVersion": "1.0",
        "Ce-Id": '"a \\"quoted\\" id"',
        "ce-source": "/caf%C3%A9%20x",
        "ce-type": "t",
        "ce-rows": "12",
        "Content-Type": "application/json",
    }
    event = read(b'{"a": 1}', headers)
    assert event.attributes == {
        "specversion": "1.0", "id": 'a "quoted" id', "source": "/café x", "type": "t", "rows": "12",
        "datacontenttype": "application/json",
    }  # fmt: skip
    assert (event.data, event.view()["source"], event.view()["a"]) == ({"a": 1}, "/café x", 1)
    assert event.headers == headers


def test_data_in_base64_of_another_type_is_read_as_what_it_is() -> None:
    packed = base64.b64encode(b"caf\xc3\xa9").decode()
    assert read(*structured({"data_base64": packed, "datacontenttype": "text/plain"})).data == "café"
    assert read(*structured({"data_base64": "", "datacontenttype": "text/plain"})).data is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": None}, "has no id"),
        ({"source": None}, "has no source"),
        ({"id": ""}, "'id' must not be None or empty"),
        ({"id": 7}, "'id' must be a"),
        ({"id": "a\nb"}, "'id' has control characters"),
        ({"specversion": "0.3"}, "specversion is '0.3'"),
        ({"time": "yesterday"}, "time is 'yesterday'"),
        ({"time": "2026-01-01T00:00:00"}, "it has no time zone"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time is"),
        ({"time": 5}, "time is '5'"),
        ({"Upper": "x"}, "should only contain lowercase letters"),
        ({"extension": {"a": 1}}, "'extension' is neither a text"),
        ({"data": 1, "data_base64": "MQ=="}, "both data and data_base64"),
        ({"data_base64": "%"}, "data_base64 is no base64"),
        ({"data_base64": 5}, "data_base64 is no base64"),
        ({"data_base64": "ew=="}, "the CloudEvent's data is no JSON"),
        ({"data_base64": "AA==", "datacontenttype": "image/png"}, "the CloudEvent's data is 'image/png'"),
    ],
)
def test_a_cloudevent_that_breaks_the_specification_is_refused(changes: JsonObject, words: str) -> None:
    with pytest.raises(EventMalformed, match=words):
        read(*structured(changes))


@pytest.mark.parametrize(
    ("headers", "data", "words"),
    [
        ({"ce-id": "1"}, b"{}", "has no specversion"),
        (ce_headers(ENVELOPE) | {"ce-source": "%FF"}, b"{}", "ce-source: what is percent-encoded is no UTF-8"),
        (ce_headers(ENVELOPE) | {"ce-": "x"}, b"{}", "at least 1 character"),
        (ce_headers(ENVELOPE), b"{", "is no JSON"),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]", "cloudevents-batch.* are not read"),
        ({"Content-Type": "application/cloudevents+json"}, b"[]", "the CloudEvent is no object"),
    ],
)
def test_a_cloudevent_that_breaks_the_binding_is_refused(headers: dict[str, str], data: bytes, words: str) -> None:
    with pytest.raises(EventMalformed, match=words):
        read(data, headers)


def test_an_object_with_other_four_fields_is_no_cloudevent() -> None:
    for odd in ({**ENVELOPE, "id": 7}, {k: v for k, v in ENVELOPE.items() if k != "type"}):
        assert read(json.dumps(odd).encode()).data == odd


def test_a_packed_cloudevent_is_one_too() -> None:
    event = read(ormsgpack.packb({**ENVELOPE, "data": {"a": 1}}))
    assert (event.identity, event.data) == ("ce:/lake:e-1", {"a": 1})


def test_the_subject_and_the_place_are_carried_over() -> None:
    place = Place("S", "c", 1, datetime(2026, 1, 1, tzinfo=UTC))
    event = decode("ml.a.ready", b"{}", None, place, max_bytes=MAX)
    assert (event.subject, event.deliveries, event.raw, event.headers) == ("ml.a.ready", 1, b"{}", {})
