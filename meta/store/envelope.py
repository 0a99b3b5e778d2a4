"""Life-cycle events as CloudEvents 1.0 in JSON (structured mode).

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md; `sequence` is its extension of that name,
`traceparent` and `tracestate` are those of distributed tracing: whoever hears of a run continues its trace.
"""

from __future__ import annotations

import json
import re
from typing import cast

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from meta.store.outgoing import Happening, common
from workflows.messages import RunSnapshot
from workflows.spec.subjects import EVENTS
from workflows.trace import TRACEPARENT, TRACESTATE, context_of_run
from workflows.values import JsonObject

CONTENT_TYPE = "application/cloudevents+json"
_UNSAFE = re.compile(r"[\s.*>%\x00-\x1f\x7f]")
_FORMAT = JSONFormat()


def subject_of(workflow: str, run_id: str, what: str) -> str:
    """Where an event goes. What may not stand in a subject's part is percent-encoded in the run's id."""
    token = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), run_id)
    return f"{EVENTS}{workflow}.{token}.{what}"


def envelope(run: RunSnapshot, happening: Happening, sequence: int, sampling: float = 1.0) -> JsonObject:
    """The event, checked by the CloudEvents library.

    Args:
        run: whose it is.
        happening: what it tells.
        sequence: its place among the events of the run, from 1.
        sampling: ratio of traces that are exported.
    """
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": happening.id(run.id),
        "source": f"/meta-workflows/{run.workflow}",
        "type": happening.type,
        "subject": run.id,
        "time": happening.at,
        "datacontenttype": "application/json",
        "sequence": f"{sequence:010d}",
        **_trace(run, sampling),
    }
    written = _FORMAT.write(CloudEvent(attributes, common(run) | happening.data))
    return cast(JsonObject, json.loads(written))


def described(event: JsonObject, run: RunSnapshot, sampling: float = 1.0) -> JsonObject:
    """An event that was made before its run was known in full, with what the run has meanwhile told of itself."""
    data = cast(JsonObject, event["data"]) | common(run)
    if event["type"] == "meta.run.started":
        data |= {"inputs": run.inputs}
    told: JsonObject = {**_trace(run, sampling)}
    told |= {"source": f"/meta-workflows/{run.workflow}", "data": data}
    return event | told


def _trace(run: RunSnapshot, sampling: float) -> dict[str, str]:
    """The run's own trace, below the span of its cause; baggage is no attribute of the extension."""
    context = context_of_run(run.id, run.trace, sampling)
    return {name: context[name] for name in (TRACEPARENT, TRACESTATE) if name in context}


def payload(event: JsonObject) -> bytes:
    """The bytes that are published."""
    return json.dumps(event, separators=(",", ":")).encode()
