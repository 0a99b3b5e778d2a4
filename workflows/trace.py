"""Ids of traces and spans: pure functions of a run's id, so that whoever tells of a span gives it the same id.

A trace is W3C Trace Context (https://www.w3.org/TR/trace-context/): it goes on from the `traceparent` of what caused
the run, where there is one, else it begins with the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from workflows.naming import RunKey

TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"
_SAMPLED = 0x01
_RANDOM = 0x02
"""The maker of the trace id says that it is random; passed on (https://www.w3.org/TR/trace-context-2/#trace-flags)."""
_HALF = 1 << 64


def trace_id(run_id: str, trace: Mapping[str, str]) -> str:
    """32 hex digits.

    Args:
        run_id: of the meta-run.
        trace: context of the run's cause, well-formed or empty.
    """
    parent = trace.get(TRACEPARENT, "")
    return parent.split("-")[1] if parent else _digest(f"trace/{run_id}", 32)


def cause_span_id(trace: Mapping[str, str]) -> str:
    """Span of whoever caused the run, 16 hex digits; empty when the trace begins here."""
    parent = trace.get(TRACEPARENT, "")
    return parent.split("-")[2] if parent else ""


def span_id(run_id: str, *path: object) -> str:
    """16 hex digits for one span of a run.

    Args:
        run_id: of the meta-run.
        path: what the span is of; see the functions below and `meta.trace.spans`.
    """
    return _digest("/".join(["span", run_id, *map(str, path)]), 16)


def root_span_id(run_id: str) -> str:
    """Span of what caused a run: the root of what is told of it, and the parent of what follows from it."""
    return span_id(run_id, "cause")


def engine_span_id(key: RunKey) -> str:
    """Span of the engine run of an attempt: the parent of whatever code in it tells."""
    return span_id(key.meta_run, "engine", key.step, key.index, key.attempt)


def is_sampled(run_id: str, trace: Mapping[str, str], ratio: float) -> bool:
    """Whether the trace is exported: as its cause says, else by the ratio.

    The ratio is of trace ids, by their lower 64 bits, as OpenTelemetry's TraceIdRatioBased sampler takes them.
    """
    if parent := trace.get(TRACEPARENT, ""):
        return bool(int(parent.split("-")[3], 16) & _SAMPLED)
    return int(trace_id(run_id, trace)[16:], 16) < round(ratio * _HALF)


def context_of(key: RunKey, trace: Mapping[str, str], ratio: float) -> dict[str, str]:
    """What goes into an engine run, so that code in its pods can continue the trace.

    Args:
        key: of the attempt.
        trace: context of the run's cause.
        ratio: of traces that are exported; see `is_sampled`.

    Returns:
        `traceparent`, and `tracestate` and `baggage` where the cause has them.
    """
    return _context(key.meta_run, engine_span_id(key), trace, ratio)


def context_of_run(run_id: str, trace: Mapping[str, str], ratio: float) -> dict[str, str]:
    """What goes out with what a run tells, so that who hears of it can continue the trace; see `context_of`."""
    return _context(run_id, root_span_id(run_id), trace, ratio)


def context_of_step(run_id: str, step: str, trace: Mapping[str, str], ratio: float) -> dict[str, str]:
    """What goes into a run that a step starts: its trace goes on below the step's span; see `context_of`."""
    return _context(run_id, span_id(run_id, "step", step), trace, ratio)


def _context(run_id: str, span: str, trace: Mapping[str, str], ratio: float) -> dict[str, str]:
    parent = trace.get(TRACEPARENT, "")
    flags = int(parent.split("-")[3], 16) & _RANDOM if parent else 0
    flags |= _SAMPLED if is_sampled(run_id, trace, ratio) else 0
    passed = {name: trace[name] for name in (TRACESTATE, BAGGAGE) if trace.get(name)}
    return {TRACEPARENT: f"00-{trace_id(run_id, trace)}-{span}-{flags:02x}", **passed}


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
