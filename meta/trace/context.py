"""Which trace a call or a message belongs to: W3C Trace Context and Baggage, as it comes in.

As metadata of a call, as headers of a message or a CloudEvent's extension, as variables of a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workflows.trace import BAGGAGE, TRACEPARENT, TRACESTATE

NAMES = (TRACEPARENT, TRACESTATE, BAGGAGE)
"""Of headers and metadata; as variables of a process they are in capitals."""
MAX_TRACEPARENT = 200
"""Characters; version 00 has 55, later ones may have more."""
MAX_TRACESTATE = 512
"""Characters that everybody propagates at least (https://www.w3.org/TR/trace-context/#tracestate-limits)."""
MAX_BAGGAGE = 8192
"""Bytes (https://www.w3.org/TR/baggage/#limits)."""
_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def trace_of(*sources: Mapping[str, str]) -> dict[str, str]:
    """The trace context of a call, a message, a process.

    Args:
        sources: names in lower case; the first with a well-formed traceparent counts, and the first with baggage.

    Returns:
        `traceparent`, `tracestate`, `baggage`, as far as they are there. What is malformed or too long is left out, a
        tracestate together with its traceparent.
    """
    trace = dict[str, str]()
    for source in sources:
        parent = source.get(TRACEPARENT, "").strip()
        if _is_parent(parent):
            trace[TRACEPARENT] = parent
            state = source.get(TRACESTATE, "").strip()
            if 0 < len(state) <= MAX_TRACESTATE and _PRINTABLE.fullmatch(state):
                trace[TRACESTATE] = state
            break
    for source in sources:
        baggage = source.get(BAGGAGE, "").strip()
        if 0 < len(baggage) <= MAX_BAGGAGE and _PRINTABLE.fullmatch(baggage):  # ASCII: characters are bytes
            trace[BAGGAGE] = baggage
            break
    return trace


def _is_parent(text: str) -> bool:
    """Whether it is a traceparent (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    found = _PARENT.fullmatch(text)
    if found is None or len(text) > MAX_TRACEPARENT or not _PRINTABLE.fullmatch(text):
        return False
    version, more = found["version"], found["more"]
    if version == "ff" or (version == "00" and more):
        return False
    return set(found["trace"]) != {"0"} and set(found["span"]) != {"0"}
