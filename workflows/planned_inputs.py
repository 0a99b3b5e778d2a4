"""Inputs of runs that time asks for: of schedules and of backfills. They read `event`; used in activities only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from workflows.expressions.events import event_evaluator
from workflows.expressions.templates import render_value
from workflows.planned import rfc3339
from workflows.values import JsonObject, JsonValue

EVENT_FIELDS = ("time", "date", "timestamp", "workflow", "trigger", "end")
"""What `time_event` gives; `end` only for a partition."""


def time_event(workflow: str, trigger: str, at: datetime, end: datetime | None = None) -> JsonObject:
    """What expressions see as `event`.

    Args:
        workflow: whose run it is.
        trigger: name of the schedule; empty for a backfill.
        at: planned time, or the begin of a partition; in a time zone, whose day is `event.date`.
        end: of a partition.
    """
    event: JsonObject = {
        "time": rfc3339(at),
        "date": f"{at:%Y-%m-%d}",
        "timestamp": int(at.astimezone(UTC).timestamp()),
        "workflow": workflow,
        "trigger": trigger,
    }
    return event | ({"end": rfc3339(end)} if end is not None else {})


def rendered(inputs: Mapping[str, JsonValue], event: JsonObject) -> JsonObject:
    """Inputs with their expressions worked out.

    Raises:
        ExpressionFailed: naming the input.
    """
    return {name: render_value(value, event_evaluator([event], f"input '{name}'")) for name, value in inputs.items()}
