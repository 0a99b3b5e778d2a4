from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from meta.api.feed import RunFeed
from meta.api.reconcile import Reconciler
from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.server_process import end_task
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.events import EventReader, data_of, event_reader, whats
from workflows.errors import ServiceUnavailable
from workflows.outcome import Artifact, FailedNode, FailureClass, Outcome, RunState
from workflows.trace import context_of_run
from workflows.values import JsonValue

FAILED = Outcome(
    failure=FailureClass.FAILED,
    message="Error (exit code 1)",
    failed_nodes=[FailedNode(name="main", phase="Failed", exit_code=1, log=["a line"])],
)
BESIDE = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: beside}
steps:
  train: {argo: {manifest: step.yaml}}
  side: {argo: {manifest: step.yaml}}
  deploy: {needs: [train], argo: {manifest: step.yaml}}
  alarm: {when: "steps.train.state == 'failed'", argo: {manifest: step.yaml}}
"""
RETRIED = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: retried}
steps:
  train: {argo: {manifest: step.yaml}, retry: {attempts: 3, backoff: 10ms}}
"""


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    async with make_rig(temporal, tmp_path, nats.url) as made:
        await made.work()
        yield made


@pytest.fixture
async def reader(nats: NatsServer) -> AsyncGenerator[EventReader]:
    async with event_reader(nats.url) as made:
        yield made


async def start(rig: Rig, text: str = "", **inputs: JsonValue) -> str:
    """Publish a definition and start it; returns the run's id."""
    async with rig.client() as client:
        await client.publish(rig.chain(text) if text else rig.chain())
        name = text.partition("name: ")[2].partition("}")[0] if text else "chain"
        return (await client.start(name, inputs)).id


async def test_a_chain_tells_what_happens_in_order_with_its_values(rig: Rig, reader: EventReader) -> None:
    model = Artifact(name="model", uri="file:///dev/null", sha256="ab", size=2, type="system.Model")
    rig.engine.script["prepare"] = [Outcome(outputs={"rows": "3"}, artifacts={"model": model})]
    run = await start(rig, rate=2)
    events = await reader.until(run, "run.succeeded")
    assert whats(events) == [
        "run.started",
        "step.prepare.started/1",
        "artifact.prepare.model/1",
        "step.prepare.succeeded/1",
        "step.train.started/1",
        "step.train.succeeded/1",
        "run.succeeded",
    ]
    assert await reader.subjects() == [f"meta.events.chain.{run}.{what.partition('/')[0]}" for what in whats(events)]
    first = events[0]
    assert {name: first[name] for name in ("specversion", "source", "type", "subject", "datacontenttype")} == {
        "specversion": "1.0",
        "source": "/meta-workflows/chain",
        "type": "meta.run.started",
        "subject": run,
        "datacontenttype": "application/json",
    }
    assert [event["sequence"] for event in events] == [f"{n:010d}" for n in range(1, 8)]
    known = await rig.store.runs.get(run)
    assert first["data"] == {
        "run": run, "workflow": "chain", "trigger": "api", "request_id": known.request_id, "state": "running",
        "inputs": {"rate": 2, "note": ""},
    }  # fmt: skip
    started = data_of(events, "step.prepare.started/1")
    engine_run = rig.engine.submitted[0].name
    assert started["engine_run"] == {"name": engine_run, "uid": f"uid-{engine_run}", "namespace": "", "url": ""}
    assert (started["step"], started["kind"], started["engine"], started["attempt"]) == ("prepare", "argo", "argo", 1)
    assert data_of(events, "step.prepare.succeeded/1")["outputs"] == {"rows": "3"}
    artifact = data_of(events, "artifact.prepare.model/1")
    assert artifact["producer"] == artifact["step"] == "prepare"
    assert {name: artifact[name] for name in ("name", "uri", "sha256", "size", "type")} == model.model_dump(
        include={"name", "uri", "sha256", "size", "type"}
    )
    assert data_of(events, "run.succeeded")["outputs"] == {"rate": 2.0}
    traces = {str(event["traceparent"]) for event in events}
    assert traces == {context_of_run(run, {}, 1.0)["traceparent"]}, "who hears of it continues the run's trace"
    assert "tracestate" not in first


async def test_a_failed_attempt_is_told_and_the_next_one_as_one_more_start(rig: Rig, reader: EventReader) -> None:
    rig.engine.script["train"] = [FAILED, Outcome()]
    run = await start(rig, RETRIED)
    events = await reader.until(run, "run.succeeded")
    assert whats(events) == [
        "run.started",
        "step.train.started/1",
        "step.train.attempt_failed/1",
        "step.train.started/2",
        "step.train.succeeded/2",
        "run.succeeded",
    ]
    failed = data_of(events, "step.train.attempt_failed/1")
    assert (failed["state"], failed["message"]) == ("failed", "Error (exit code 1)")
    assert failed["failed_nodes"] == [{"name": "main", "phase": "Failed", "message": "", "exit_code": 1}]


async def test_a_step_that_failed_for_good_is_told_while_the_others_go_on(rig: Rig, reader: EventReader) -> None:
    rig.engine.script |= {"train": [FAILED], "side": [None]}
    run = await start(rig, BESIDE)
    events = await reader.until(run, "step.alarm.succeeded/1")
    told = whats(events)
    assert "step.train.failed" in told
    assert told.index("step.train.attempt_failed/1") < told.index("step.train.failed")
    assert told.index("step.train.failed") < told.index("step.alarm.started/1"), "what follows an end comes after it"
    assert "step.side.succeeded/1" not in told
    rig.engine.finish("side")
    events = await reader.until(run, "run.failed")
    assert whats(events)[-1] == "run.failed"
    assert len(whats(events)) == len(set(whats(events))) == 10
    assert data_of(events, "run.failed")["message"] == "step train failed: Error (exit code 1)"
    assert data_of(events, "step.deploy.skipped")["state"] == "skipped"


async def test_a_cancelled_run_tells_its_steps_ends_before_its_own(rig: Rig, reader: EventReader) -> None:
    rig.engine.script["prepare"] = [None]
    run = await start(rig)
    await reader.until(run, "step.prepare.started/1")
    async with rig.client() as client:
        await client.cancel(run, "no longer wanted")
    events = await reader.until(run, "run.cancelled")
    told = [what for what in whats(events) if "attempt_failed" not in what]
    assert told[:2] == ["run.started", "step.prepare.started/1"]
    assert set(told[2:-1]) == {"step.prepare.cancelled", "step.train.cancelled"}
    assert told[-1] == "run.cancelled"
    assert "no longer wanted" in str(data_of(events, "run.cancelled")["message"])


async def test_a_run_that_was_terminated_in_temporal_ends_too(rig: Rig, reader: EventReader) -> None:
    rig.engine.script["prepare"] = [None]
    run = await start(rig)
    await reader.until(run, "step.prepare.started/1")
    async with rig.client() as client:
        watching = asyncio.create_task(client.wait(run))  # watched runs are looked at every few seconds
        await rig.temporal.get_workflow_handle(run).terminate("by hand")
        events = await reader.until(run, "run.terminated")
        await watching
    assert set(whats(events)[2:-1]) == {"step.prepare.lost", "step.train.skipped"}
    assert whats(events)[-1] == "run.terminated"


@pytest.mark.parametrize("away_s", [2.0, pytest.param(30.0, marks=pytest.mark.prove)])
async def test_runs_end_undisturbed_while_nats_is_down_and_tell_all_of_it_after(
    rig: Rig, nats: NatsServer, reader: EventReader, away_s: float
) -> None:
    rig.engine.script["prepare"] = [None]
    runs = [await start(rig) for _ in range(3)]
    for run in runs:
        await reader.until(run, "step.prepare.started/1")
    await nats.stop()
    stopped_at = time.monotonic()
    runs.append(await start(rig))
    async with rig.client() as client:
        await rig.engine.until(lambda: rig.engine.steps().count("prepare") == len(runs))
        rig.engine.finish("prepare")
        ended = [await client.wait(run) for run in runs]
        assert [run.state for run in ended] == [RunState.SUCCEEDED] * len(runs)
    await asyncio.sleep(max(away_s - (time.monotonic() - stopped_at), 0))  # the rest of the outage
    assert (await rig.store.outbox.size()).count
    await nats.start()
    for run in runs:
        assert whats(await reader.until(run, "run.succeeded")) == [
            "run.started",
            "step.prepare.started/1",
            "step.prepare.succeeded/1",
            "step.train.started/1",
            "step.train.succeeded/1",
            "run.succeeded",
        ]
    assert len(await reader.all()) == 6 * len(runs)


async def test_a_run_that_was_not_written_down_when_it_started_is_told_in_full(
    rig: Rig, reader: EventReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the service is killed between Temporal's answer and its own note of the run."""

    async def die(*_: object) -> None:
        raise ServiceUnavailable("killed")

    rig.engine.script["prepare"] = [None]
    with monkeypatch.context() as patch:
        patch.setattr(rig.store.runs, "create", die)
        run = await start(rig, rate=2)
        async with asyncio.timeout(20):
            while not await rig.store.runs.undescribed():
                await asyncio.sleep(0.02)
    assert await reader.all(run) == [], "its start is not known yet"
    temporal = await TemporalRuns.open(rig.config.temporal.address, rig.config.temporal.namespace, "")
    starter = Starter(rig.store, temporal)
    reconciler = Reconciler(rig.store, temporal, RunFeed(rig.store), adopt=starter.adopt)
    task = asyncio.create_task(reconciler.run())
    events = await reader.until(run, "step.prepare.started/1")
    await end_task(task)
    assert whats(events) == ["run.started", "step.prepare.started/1"]
    assert data_of(events, "run.started")["inputs"] == {"rate": 2, "note": ""}
    assert {str(event["source"]) for event in events} == {"/meta-workflows/chain"}
    rig.engine.finish("prepare")
    assert whats(await reader.until(run, "run.succeeded"))[-1] == "run.succeeded"


async def test_without_nats_nothing_is_written_to_the_outbox(temporal: Client, tmp_path: Path) -> None:
    async with make_rig(temporal, tmp_path) as made:
        await made.work()
        run = await start(made)
        async with made.client() as client:
            await client.wait(run)
        assert await made.store.outbox.unsent(10) == []
        assert (await made.store.outbox.size()).count == 0
