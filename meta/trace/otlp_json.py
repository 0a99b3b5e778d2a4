"""Spans as OTLP/JSON, as collectors' `otlpjsonfile` receiver and Jaeger's upload read it.

Protobuf's JSON mapping, but ids are hex and enums are numbers:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from google.protobuf.json_format import MessageToDict

from meta.trace.model import Span
from meta.trace.otlp import to_traces_data
from meta.trace.tree import closed

_IDS = ("traceId", "spanId", "parentSpanId")


def to_otlp_json(spans: Iterable[Span], resource: Mapping[str, str], now: datetime) -> str:
    """One JSON object, `TracesData`, on one line.

    Args:
        spans: those that go on end now and have the attribute `meta.unfinished`: an importer wants every parent.
        resource: attributes of what tells them.
        now: see above.
    """
    data = to_traces_data([closed(span, now) for span in spans], resource)
    found: dict[str, Any] = MessageToDict(data, use_integers_for_enums=True)
    for told in found.get("resourceSpans", []):
        for scope in told.get("scopeSpans", []):
            for span in scope.get("spans", []):
                for owner in (span, *span.get("links", [])):
                    _to_hex(owner)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"


def _to_hex(owner: dict[str, Any]) -> None:
    for name in _IDS:
        if name in owner:
            owner[name] = base64.b64decode(owner[name]).hex()
