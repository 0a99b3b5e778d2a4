"""How the triggers of published definitions stand: what the definitions say, joined with what NATS has of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from meta.store import Store
from meta.store.bundles import PublishedWorkflow
from meta.store.event_tables import TriggerRow
from workflows.errors import NotFound
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class Standing:
    """A trigger, and how it stands.

    Attributes:
        name: its key in the definition.
        state: active, failing, off, ending; empty before the service has looked.
        message: why it is failing, or what is to be said of it; `hint` is the mend.
        pending: messages that wait in the stream; None when NATS has not been asked.
        unacknowledged: messages that were delivered and are not settled.
        updated_at: when the service last looked.
        spec: as it stands in the definition.
    """

    workflow: str
    name: str
    subject: str
    spec: JsonObject
    state: str = ""
    message: str = ""
    hint: str = ""
    stream: str = ""
    consumer: str = ""
    pending: int | None = None
    unacknowledged: int | None = None
    updated_at: datetime | None = None


async def trigger_report(store: Store, workflow: str = "", *, nats: bool) -> list[Standing]:
    """The triggers of the newest definitions, by workflow and name; then consumers that outlive their triggers.

    Args:
        store: keeps both.
        workflow: only this one; empty: all.
        nats: whether the service has a NATS.

    Raises:
        NotFound: nothing is published under the name, and NATS has nothing of it either.
    """
    rows = [row for row in await store.trigger_states.list() if workflow in ("", row.workflow)]
    published: list[PublishedWorkflow] = []
    try:
        published = [await store.workflows.newest(workflow)] if workflow else await store.workflows.list()
    except NotFound:
        if not rows:
            raise
    return joined(published, rows, nats=nats)


def joined(published: Sequence[PublishedWorkflow], rows: Sequence[TriggerRow], *, nats: bool) -> list[Standing]:
    """Lay what the service has written down beside what the definitions say."""
    known = {(row.workflow, row.name): row for row in rows}
    found: list[Standing] = []
    for one in published:
        triggers = {trigger.nats.key: trigger.nats for trigger in one.definition.triggers if trigger.nats is not None}
        for key in sorted(triggers):
            row = known.pop((one.name, key), None)
            found.append(_standing(one.name, triggers[key], row, nats=nats))
    return found + [_ending(row) for row in known.values()]


def _standing(workflow: str, trigger: NatsTrigger, row: TriggerRow | None, *, nats: bool) -> Standing:
    spec = trigger.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if not nats:
        hint = "set nats.url in meta.toml, and start the service again"
        return Standing(workflow, trigger.key, trigger.subject, spec, "off", "NATS is not configured", hint)
    if row is None or not _same(trigger, row):
        words = "the service takes it up within seconds" if row is None else "the service takes its change up soon"
        return Standing(workflow, trigger.key, trigger.subject, spec, message=words)
    return Standing(
        workflow=workflow,
        name=row.name,
        subject=trigger.subject,
        spec=spec,
        state=row.state,
        message=row.message,
        hint=row.hint,
        stream=row.stream,
        consumer=row.consumer,
        pending=row.pending,
        unacknowledged=row.unacknowledged,
        updated_at=row.updated_at,
    )


def _same(trigger: NatsTrigger, row: TriggerRow) -> bool:
    """Whether what the service last looked at is the trigger as it stands now."""
    try:
        return NatsTrigger.model_validate(row.spec) == trigger
    except ValidationError:  # written by another version
        return False


def _ending(row: TriggerRow) -> Standing:
    return Standing(
        workflow=row.workflow,
        name=row.name,
        subject=row.subject,
        spec=row.spec,
        state="ending",
        message=row.message or "no definition has it any more; its consumer is yet to be taken away",
        hint=row.hint,
        stream=row.stream,
        consumer=row.consumer,
        updated_at=row.updated_at,
    )
