"""Messages that steps wait for, on a real nats-server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from temporalio.client import WorkflowFailureError

from meta.config import NatsConfig
from meta.triggers.awaited import NatsEvents
from tests.integration.service.servers import NatsServer
from tests.support.approvals import step_of, until_running
from tests.support.world import world as make_world
from workers.ports import Place
from workflows.errors import Conflict, ServiceUnavailable
from workflows.expressions.awaited import event_condition
from workflows.kind_messages import AwaitEvent, EventArrived
from workflows.naming import RunKey
from workflows.outcome import StepState

KEY = RunKey(meta_run="chain-1", step="ready")


@dataclass
class Reading:
    """A wait, and how far it has come."""

    events: NatsEvents
    places: list[Place] = field(default_factory=list[Place])

    def begin(self, wanted: AwaitEvent, after: Place | None = None) -> asyncio.Task[EventArrived]:
        fits = event_condition(wanted.when, wanted.variables, "when")
        return asyncio.ensure_future(self.events.first(wanted, fits, after=after, read=self.places.append))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)


@pytest.fixture
async def reading(nats: NatsServer) -> AsyncGenerator[Reading]:
    events = NatsEvents(NatsConfig(url=nats.url))
    yield Reading(events)
    await events.close()


def wanted(subject: str = "jobs.*.done", **more: object) -> AwaitEvent:
    fields: dict[str, object] = {"workflow": "chain", "key": KEY, "subject": subject, "since": datetime.now(UTC)}
    return AwaitEvent.model_validate({**fields, **more})


async def send(js: JetStreamContext, subject: str, **data: object) -> None:
    await js.publish(subject, json.dumps(data).encode())


async def test_the_first_message_since_the_begin_that_fits_is_it_and_what_cannot_be_read_is_skipped_and_said(
    js: JetStreamContext, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    await send(js, "jobs.a.done", rows=500, table="t")
    await asyncio.sleep(0.05)  # so that the clocks' resolution cannot make the two moments one
    message = wanted(when="event.rows > inputs.least", variables={"inputs.least": 100.0})
    await js.publish("jobs.a.done", b"{no json")
    await send(js, "jobs.a.done", rows="many")
    await send(js, "jobs.a.done", rows=5)
    await send(js, "jobs.b.done", rows=200, table="u")
    await send(js, "jobs.c.done", rows=300)
    with caplog.at_level(logging.WARNING, "meta.triggers.awaited"):
        arrived = await reading.begin(message)
    assert (arrived.event["rows"], arrived.event["tokens"], arrived.subject) == (
        200,
        ["jobs", "b", "done"],
        "jobs.b.done",
    )
    assert abs(arrived.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert arrived.skipped == 2
    assert [record.message.partition(" is skipped")[0][-9:] for record in caplog.records] == ["2 of JOBS", "3 of JOBS"]
    assert [place.sequence for place in reading.places] == [2, 3, 4], "the one that fits is not passed"
    assert await js.consumers_info("JOBS") == [], "its consumer is gone"


async def test_a_wait_goes_on_over_a_restart_of_nats_and_misses_nothing(
    nats: NatsServer, reading: Reading, js: JetStreamContext
) -> None:
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    waiting = reading.begin(wanted(when="event.n == 3"))
    await send(js, "jobs.a.done", n=1)
    await reading.until(lambda: len(reading.places) == 1)
    await nats.kill()
    await nats.start()
    connection = await nats_client.connect(nats.url)
    for n in (2, 3):
        await send(connection.jetstream(), "jobs.a.done", n=n)
    async with asyncio.timeout(60):
        while not waiting.done() or isinstance(waiting.exception(), ServiceUnavailable):
            if waiting.done():  # as Temporal would: another try, from where this one was
                waiting = reading.begin(wanted(when="event.n == 3"), reading.places[-1])
            await asyncio.wait([waiting], timeout=1.0)
    assert waiting.result().event["n"] == 3
    assert [place.sequence for place in reading.places] == [1, 2], "each is looked at once"
    await connection.close()


async def test_another_worker_goes_on_where_the_one_before_has_left(reading: Reading, js: JetStreamContext) -> None:
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    message = wanted()
    for n in (1, 2):
        await send(js, "jobs.a.done", n=n)
    created = str((await js.stream_info("JOBS")).created)
    assert (await reading.begin(message, Place("JOBS", created, 1))).event["n"] == 2
    assert (await reading.begin(message, Place("JOBS", "another", 1))).event["n"] == 1, "of a stream made anew"


async def test_a_stream_is_made_for_a_subject_that_none_has_unless_it_is_of_one_run(
    reading: Reading, js: JetStreamContext
) -> None:
    waiting = reading.begin(wanted("made.here"))
    async with asyncio.timeout(30):
        while not await js.streams_info():
            await asyncio.sleep(0.02)
    while not (await js.streams_info())[0].state.consumer_count:
        await asyncio.sleep(0.02)
    await send(js, "made.here", n=1)
    assert (await waiting).event["n"] == 1
    with pytest.raises(Conflict, match=r"no stream has runs\.chain-1"):
        await reading.begin(wanted("runs.chain-1", make_stream=False))


async def test_a_cancelled_wait_leaves_nothing_behind(reading: Reading, js: JetStreamContext) -> None:
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    waiting = reading.begin(wanted())
    while not await js.consumers_info("JOBS"):
        await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await js.consumers_info("JOBS") == []


async def test_a_step_waits_for_its_message_and_the_next_one_reads_it(nats: NatsServer, js: JetStreamContext) -> None:
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    events = NatsEvents(NatsConfig(url=nats.url))
    async with make_world(events=events) as w:
        argo = {"argo": {"manifest": "m.yaml"}}
        source = {
            "subject": "jobs.${{ inputs.job }}.done",
            "when": "event.rows >= inputs.least && event.run == run.id",
        }
        handle = await w.start(
            {
                "ready": {"wait": {"event": source}},
                "train": {**argo, "parameters": {"table": "${{ steps.ready.outputs.event.table }}"}},
            },
            {"job": "a", "least": 10},
            declared={"job": {"type": "string"}, "least": {"type": "integer"}},
        )
        assert (await until_running(handle, "ready")).message == "waits for a message on jobs.a.done"
        await send(js, "jobs.a.done", rows=20, run="another", table="x")
        await send(js, "jobs.a.done", rows=20, run=handle.id, table="t")
        run = await handle.result()
        ready = step_of(run, "ready")
        assert ready.state is StepState.SUCCEEDED
        assert ready.outputs["subject"] == "jobs.a.done"
        assert w.engine.submitted[0].parameters == {"table": "t"}
        again = await w.start({"ready": {"wait": {"event": {"subject": "jobs.b.done"}}}})
        await until_running(again, "ready")
        await again.cancel()
        with pytest.raises(WorkflowFailureError):
            await again.result()
        assert step_of(w.store.snapshots[again.id], "ready").state is StepState.CANCELLED
    await events.close()
