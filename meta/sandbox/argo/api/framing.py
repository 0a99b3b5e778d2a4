"""How results become a stream: NDJSON, or server-sent events with keepalives (argoproj/pkg, grpc/http)."""

from __future__ import annotations

import json
from http import HTTPStatus

from pydantic import JsonValue
from starlette.requests import Request

from meta.sandbox.argo.api.errors import Code
from meta.sandbox.argo.api.fields import FieldFilter

KEEPALIVE_S = 15.0
KEEPALIVE = b":\n"  # a comment
EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def wants_events(request: Request) -> bool:
    """Only exactly that Accept header gives server-sent events."""
    return request.headers.get("accept") == EVENT_STREAM


def media_type(*, events: bool) -> str:
    return EVENT_STREAM if events else "application/json"


def encode(value: JsonValue) -> bytes:
    """JSON as Go writes it: without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def frame(text: bytes, *, events: bool) -> bytes:
    """One result. The blank and the third line end of an event are the real server's."""
    return b"data: " + text + b" \n\n\n" if events else text + b"\n"


def error_chunk(code: Code, message: str, fields: str = "") -> bytes:
    """An error inside a stream (grpc-gateway 1.16, errorChunk); a `fields` filter that does not name it takes it away.

    Args:
        code: its HTTP status is in the chunk too.
        message: for people.
        fields: the request's filter.
    """
    number, status = code.value
    error: JsonValue = {
        "grpc_code": number, "http_code": status, "message": message, "http_status": HTTPStatus(status).phrase,
    }  # fmt: skip
    return encode(FieldFilter(fields).apply({"error": error}))
