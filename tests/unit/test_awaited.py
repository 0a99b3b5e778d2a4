"""The activity that waits for a message, without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from temporalio.testing import ActivityEnvironment

from workers.events import wait_for_event
from workers.ports import Place
from workflows.errors import InvalidInput, SettingsInvalid
from workflows.inputs import MAX_OUTPUTS
from workflows.kind_messages import AwaitEvent, EventArrived
from workflows.naming import RunKey
from workflows.values import JsonObject

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WANTED = AwaitEvent(
    workflow="chain",
    key=RunKey(meta_run="chain-1", step="ready"),
    subject="jobs.done",
    since=AT,
    when="event.n > inputs.n",
    variables={"inputs.n": 1},
)


@dataclass
class Reader:
    """Implements `workers.ports.EventReader` on messages that are there already."""

    events: list[JsonObject]
    after: list[Place | None] = field(default_factory=list["Place | None"])

    async def first(
        self,
        wanted: AwaitEvent,
        fits: Callable[[JsonObject], bool],
        *,
        after: Place | None,
        read: Callable[[Place], None],
    ) -> EventArrived:
        self.after.append(after)
        event = next(one for one in self.events if fits(one))
        return EventArrived(event=event, subject=wanted.subject, time=AT)


def environment(*details: object) -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.info = replace(made.info, heartbeat_details=list(details))
    return made


async def test_it_goes_on_where_the_try_before_has_left() -> None:
    reader = Reader([{"n": 1}, {"n": 2}])
    arrived = await environment("JOBS", "yesterday", 7).run(wait_for_event, reader, WANTED)
    assert arrived.event == {"n": 2}
    await environment().run(wait_for_event, reader, WANTED)
    assert reader.after == [Place("JOBS", "yesterday", 7), None]


async def test_a_worker_without_nats_and_a_message_that_is_too_large_are_said() -> None:
    with pytest.raises(SettingsInvalid, match="this worker has no NATS"):
        await environment().run(wait_for_event, None, WANTED)
    with pytest.raises(InvalidInput, match="256 KB at most"):
        await environment().run(wait_for_event, Reader([{"n": 2, "text": "x" * MAX_OUTPUTS}]), WANTED)
