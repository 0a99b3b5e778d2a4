from __future__ import annotations

import json
from datetime import UTC, datetime

import ormsgpack
import pytest

from meta.bridge.request import Request, encode, encoding_of, read
from workflows.values import JsonObject

PLAIN: JsonObject = {
    "request_id": "r-1",
    "pipeline": "document-ingestion",
    "parameters": {"source-url": "s3://bucket/docs/", "collection-name": "knowledge_base"},
}
LIMIT = 1 << 20


def wrapped(payload: object, **more: object) -> dict[str, object]:
    known: dict[str, object] = {"request_id": "r-1", "user_id": "u-7", "timestamp": "2026-01-02T03:04:05Z"}
    return known | {"metadata": {"team": "ml"}, "payload": payload} | more


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        wrapped(PLAIN),
        wrapped(json.dumps(PLAIN)),
        wrapped({key: value for key, value in PLAIN.items() if key != "request_id"}),
        PLAIN | {"parameters": json.dumps(PLAIN["parameters"])},
    ],
)
def test_plain_or_in_an_envelope_and_in_both_encodings_it_is_the_same_request(body: object) -> None:
    as_json, as_msgpack = read(json.dumps(body).encode(), LIMIT), read(ormsgpack.packb(body), LIMIT)
    assert (as_json.encoding, as_msgpack.encoding) == ("json", "msgpack")
    assert as_json.content == as_msgpack.content == PLAIN
    assert as_json.digest == as_msgpack.digest
    assert as_json.fault == as_msgpack.fault == ""


def test_the_payload_of_a_packed_envelope_may_be_bytes_that_are_packed_or_json() -> None:
    for payload in (ormsgpack.packb(PLAIN), json.dumps(PLAIN).encode()):
        assert read(ormsgpack.packb(wrapped(payload)), LIMIT).content == PLAIN


def test_a_time_of_messagepack_in_the_envelope_does_no_harm() -> None:
    body = wrapped(PLAIN, timestamp=datetime(2026, 1, 2, tzinfo=UTC))
    packed = ormsgpack.packb(body, option=ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT)
    assert read(packed, LIMIT).content == PLAIN


def test_the_request_s_own_id_wins_over_the_envelope_s() -> None:
    assert read(json.dumps(wrapped(PLAIN, request_id="outer")).encode(), LIMIT).request_id == "r-1"


def test_a_number_is_an_id_too_and_no_parameters_are_none() -> None:
    request = read(b'{"request_id": 7, "pipeline": "p"}', LIMIT)
    assert request == Request("json", "7", "p")


def test_json_with_a_byte_order_mark_is_json() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(), LIMIT).content == PLAIN


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no JSON"),
        (b"hello", "is no JSON"),
        (b"\x83\xa1", "is no MessagePack"),
        (b"[1]", "the message is [1], not an object"),
        (b'{"pipeline": "p"}', "there is no request_id"),
        (b'{"request_id": ["a"], "pipeline": "p"}', 'request_id is ["a"], not a text'),
        (b'{"request_id": "r"}', "there is no pipeline"),
        (b'{"request_id": "r", "pipeline": 3}', "pipeline is 3, not a name"),
        (b'{"request_id": "r", "pipeline": "p", "parameters": [1]}', "parameters is [1], not an object"),
        (b'{"request_id": "r", "payload": 3}', "payload is 3, not an object"),
        (b'{"request_id": "r", "pipeline": "p", "parameters": {"a": NaN}}', "is no JSON"),
        (b'{"request_id": "' + b"r" * 129 + b'", "pipeline": "p"}', "129 characters"),
        (b'{"a": "' + b"x" * LIMIT + b'"}', "bytes, 1,048,576 at most"),
        (b"[" * 100_000, "nested more than 100 deep"),
    ],
)
def test_what_is_no_request_says_why(data: bytes, words: str) -> None:
    assert words in read(data, LIMIT).fault


def test_what_could_be_read_of_a_bad_request_is_there_to_answer_it() -> None:
    request = read(b'{"request_id": "r", "pipeline": "p", "parameters": 3}', LIMIT)
    assert (request.request_id, request.pipeline) == ("r", "p")


def test_an_answer_is_in_the_encoding_of_its_request() -> None:
    for body in (json.dumps(PLAIN).encode(), ormsgpack.packb(PLAIN)):
        assert encoding_of(encode(PLAIN, encoding_of(body))) == encoding_of(body)
    assert json.loads(encode(PLAIN, "json")) == ormsgpack.unpackb(encode(PLAIN, "msgpack")) == PLAIN
