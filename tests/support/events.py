"""Reads life-cycle events as they stand in the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from meta.events.stream import STREAM
from workflows.values import JsonObject


@dataclass
class EventReader:
    """What a stream of events holds, oldest first."""

    js: JetStreamContext
    stream: str = STREAM
    _read: list[JsonObject] = field(default_factory=list[JsonObject])
    _subjects: list[str] = field(default_factory=list[str])

    async def all(self, run_id: str = "") -> list[JsonObject]:
        """Every event so far, or those of a run; each is checked to be a CloudEvent with its id as the message's."""
        try:
            last = (await self.js.stream_info(self.stream)).state.last_seq
        except NotFoundError:
            return []
        while len(self._read) < last:
            message = await self.js.get_msg(self.stream, len(self._read) + 1)
            assert message.data is not None
            event = JSONFormat().read(CloudEvent, message.data)
            headers = cast(dict[str, str], message.headers)
            assert headers["Nats-Msg-Id"] == event.get_id()
            assert headers["Content-Type"] == "application/cloudevents+json"
            self._read.append(cast(JsonObject, json.loads(message.data)))
            self._subjects.append(str(message.subject))
        return [event for event in self._read if run_id in ("", event["subject"])]

    async def subjects(self) -> list[str]:
        await self.all()
        return self._subjects

    async def until(self, run_id: str, what: str, timeout_s: float = 30) -> list[JsonObject]:
        """The events of a run, once this one is among them."""
        return await self.until_true(lambda ids: f"{run_id}/{what}" in ids, run_id, timeout_s)

    async def until_true(
        self, condition: Callable[[list[str]], bool], run_id: str = "", timeout_s: float = 30
    ) -> list[JsonObject]:
        """The events, once their ids fulfil a condition; NATS may be away meanwhile."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    events = await self.all(run_id)
                    if condition([str(event["id"]) for event in events]):
                        return events
                except (NatsError, TimeoutError):
                    pass
                await asyncio.sleep(0.05)


@asynccontextmanager
async def event_reader(url: str, stream: str = STREAM) -> AsyncGenerator[EventReader]:
    async def silent(_: Exception) -> None: ...

    connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=silent)
    try:
        yield EventReader(connection.jetstream(), stream)
    finally:
        await connection.close()


def whats(events: list[JsonObject]) -> list[str]:
    """The ids of one run's events without the run."""
    return [str(event["id"]).removeprefix(f"{event['subject']}/") for event in events]


def data_of(events: list[JsonObject], what: str) -> JsonObject:
    """The data of one run's event."""
    return cast(JsonObject, events[whats(events).index(what)]["data"])
