"""What the SDK says of messages that asked for runs, and of triggers."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from meta.client.views import View
from workflows.values import JsonObject, JsonValue


class EventInfo(View):
    """A message that asked for a run.

    Attributes:
        id: short, for people.
        source: nats or bridge.
        trigger: key of the trigger in the definition; empty for a message on `meta.trigger.<workflow>`.
        identity: what the message is known by: one run for each.
        outcome: started; held, while it waits for others of its batch; dead; discarded.
        run_id: of the run that it started.
        code: why it could not: the error's stable code, then its words and the mend.
        headers: the first value of each.
        data: the message as it came; only from `event`, and only while it is held or dead. URL-safe base64
            in JSON.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")

    id: str
    source: str
    subject: str
    workflow: str
    trigger: str
    identity: str
    outcome: str
    run_id: str = ""
    code: str = ""
    reason: str = ""
    hint: str = ""
    deliveries: int = 1
    event_time: datetime | None = None
    received_at: datetime | None = None
    updated_at: datetime | None = None
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    data: bytes = b""


class EventsPage(View):
    """Messages without their data, newest first; `next_token` is empty on the last page."""

    events: list[EventInfo]
    next_token: str = ""


class ReplayedInfo(View):
    """What became of replaying an event.

    Attributes:
        outcome: what it is now: started; dead; discarded, when its trigger does not want it any more; held.
        run_id: of its run; empty when it has none.
        created: False when its run was there before.
        reason: why it has no run, with the error's stable `code` and the mend.
    """

    id: str
    outcome: str
    run_id: str = ""
    created: bool = False
    code: str = ""
    reason: str = ""
    hint: str = ""


class TriggerInfo(View):
    """A trigger of a published workflow, and how it stands at NATS.

    Attributes:
        name: its key in the definition.
        state: active; failing; off, when the service has no NATS; ending, when the definition no longer has it; empty
            before the service has looked.
        message: why it is failing, or what is to be said of it; `hint` is the mend.
        pending: messages that wait in the stream; None when NATS has not been asked.
        unacknowledged: messages that were delivered and are not settled.
        spec: as it stands in the definition.
    """

    workflow: str
    name: str
    subject: str
    stream: str = ""
    consumer: str = ""
    state: str = ""
    message: str = ""
    hint: str = ""
    pending: int | None = None
    unacknowledged: int | None = None
    updated_at: datetime | None = None
    spec: JsonObject = Field(default_factory=dict[str, JsonValue])
