"""Life-cycle events of a run as a pipeline bridge's clients read statuses.

| event | status |
|---|---|
| `meta.run.started` | `pending`: accepted, no step runs yet |
| `meta.step.started` | `running`, at every start of a step or attempt; the message names the step |
| `meta.run.succeeded` | `succeeded`, with the run's `outputs` in a field more |
| `meta.run.failed`, `meta.run.terminated` | `failed`, with the reason |
| `meta.run.cancelled` | `failed`; the message begins with `cancelled` |

Other events are not told: such clients know these statuses only, and take the last ones as the end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from meta.bridge.request import Encoding, encode
from meta.bridge.status import BridgeStatus, end_of, status
from workflows.outcome import RunState
from workflows.values import JsonObject

_ENDS = {
    "meta.run.succeeded": RunState.SUCCEEDED,
    "meta.run.failed": RunState.FAILED,
    "meta.run.terminated": RunState.TERMINATED,
    "meta.run.cancelled": RunState.CANCELED,
}


def bridge(event: JsonObject, context: JsonObject) -> bytes | None:
    """The status that an event is to the client of a bridge, in the encoding of its request.

    Args:
        event: a CloudEvent of a run; what is known of the step is in `data`: step, engine, attempt.
        context: of the request: request_id, pipeline, engine, encoding.

    Returns:
        None when such clients are told nothing of it.
    """
    data = cast(JsonObject, event.get("data") or {})
    told = _told(str(event.get("type", "")), data)
    if told is None:
        return None
    state, message = told
    found = status(
        state,
        request_id=str(context.get("request_id", "")),
        pipeline=str(context.get("pipeline", "")),
        engine=str(context.get("engine") or data.get("engine") or context.get("first_engine") or ""),
        run_id=str(data.get("run", "")),
        message=message,
        at=_time(event.get("time")),
    )
    if state is BridgeStatus.SUCCEEDED:
        found["outputs"] = data.get("outputs", {})
    return encode(found, cast(Encoding, context.get("encoding", "json")))


def _told(kind: str, data: JsonObject) -> tuple[BridgeStatus, str] | None:
    if kind == "meta.run.started":
        return BridgeStatus.PENDING, "accepted, no step runs yet"
    if kind == "meta.step.started":
        attempt = data.get("attempt")
        again = f", attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
        on = f" on {engine}" if (engine := data.get("engine")) else ""  # an approval, say, runs on none
        return BridgeStatus.RUNNING, f"step '{data.get('step', '')}' runs{on}{again}"
    if (state := _ENDS.get(kind)) is not None:
        return end_of(state, str(data.get("message") or ""))
    return None


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
