"""The trace context of an attempt in the forms that engines take, so that code in their pods can continue it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from workflows.trace import BAGGAGE, TRACEPARENT, TRACESTATE
from workflows.values import JsonObject, JsonValue

MAX_BAGGAGE = 64 * 1024
"""Bytes of baggage in all variables of one engine run: Kubernetes takes no object of more than about 1 MB."""

_MEANT = {"$": "%24", "{": "%7B", "}": "%7D"}
"""Kubernetes expands `$(NAME)` in variables, Argo and KFP expand `{{...}}`: a caller's text must not mean anything."""


def harmless(trace: Mapping[str, str]) -> dict[str, str]:
    """A trace context that no engine takes for more than a text.

    Baggage is percent-encoded by its own rules, so that its readers decode what it was
    (https://www.w3.org/TR/baggage/#value). A tracestate knows no encoding; one that could be expanded is left out.
    """
    kept = dict(trace)
    if any(character in kept.get(TRACESTATE, "") for character in _MEANT):
        del kept[TRACESTATE]
    if BAGGAGE in kept:
        kept[BAGGAGE] = kept[BAGGAGE].translate(str.maketrans(_MEANT))
    return kept


def variables(trace: Mapping[str, str], containers: int) -> dict[str, str]:
    """Environment variables, as OpenTelemetry names them: TRACEPARENT, TRACESTATE, BAGGAGE.

    https://opentelemetry.io/docs/specs/otel/context/env-carriers/

    Args:
        trace: of the attempt.
        containers: how many get them; baggage that would be too much in all of them together is left out.
    """
    fits = len(trace.get(BAGGAGE, "")) * containers <= MAX_BAGGAGE
    names = (TRACEPARENT, TRACESTATE, *((BAGGAGE,) if fits else ()))
    return {name.upper(): trace[name] for name in names if trace.get(name)}


def objects_in(value: JsonValue) -> Iterator[JsonObject]:
    """The objects themselves that a list or an object holds, to be changed in place."""
    held = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    for one in held:
        if isinstance(one, dict):
            yield one


def set_variables(container: JsonObject, values: Mapping[str, str], own: frozenset[str] = frozenset()) -> None:
    """Put variables into `env` of a container, before its own, which may refer to them; what it sets itself stays.

    Args:
        container: Argo's or KFP's: both have Kubernetes' list of `name` and `value`.
        values: by name.
        own: names that are set elsewhere.
    """
    there = container.get("env")
    env = cast("list[JsonValue]", there) if isinstance(there, list) else []
    taken = own | {str(one.get("name")) for one in env if isinstance(one, dict)}
    ours: list[JsonValue] = [{"name": name, "value": value} for name, value in values.items() if name not in taken]
    if ours:
        container["env"] = [*ours, *env]
