"""JSON values, as they cross every boundary between definition, workflow, activity and engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import JsonValue

__all__ = ["JsonObject", "JsonValue", "ValueType", "canonical_json", "digest_of"]

JsonObject = dict[str, JsonValue]


class ValueType(StrEnum):
    """Types that inputs and outputs declare."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    OBJECT = "object"


def canonical_json(value: JsonValue | Mapping[str, JsonValue] | Sequence[JsonValue]) -> bytes:
    """Encode a value so that equal values have equal bytes: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """SHA-256 as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
