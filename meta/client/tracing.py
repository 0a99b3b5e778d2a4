"""The trace that a caller's program is in, as metadata of a call."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from meta.trace.context import NAMES, trace_of


def current_trace() -> dict[str, str]:
    """The context of the program's current OpenTelemetry span, and its baggage, by its global propagator.

    Empty when there is none: a program that has a span has imported OpenTelemetry, so nobody else has to wait for that.
    """
    if "opentelemetry.trace" not in sys.modules and "opentelemetry.baggage" not in sys.modules:
        return {}
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return trace_of({name.lower(): value for name, value in carrier.items()})


def trace_of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The trace context that a process was given in the variables TRACEPARENT, TRACESTATE and BAGGAGE.

    https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    """
    return trace_of({name: environment.get(name.upper(), "") for name in NAMES})
