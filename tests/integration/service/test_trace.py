"""What workers tell of what goes wrong, as the Trace call shows it."""

from __future__ import annotations

import asyncio

import pytest

from meta.client import MetaClient
from meta.trace.model import Part, Span, Status
from tests.integration.service.servers import Rig
from tests.support.traces import check_tree
from workers.ports import Work
from workflows.errors import NotFound, ServiceUnavailable
from workflows.outcome import FailureClass, Outcome, StepState

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
inputs: {wanted: {type: boolean, default: true}}
steps:
  prepare: {argo: {manifest: step.yaml}, retry: {attempts: 2, backoff: 10ms, strategy: resume}}
  train: {argo: {manifest: step.yaml}, needs: [prepare]}
  deploy: {argo: {manifest: step.yaml}, when: "inputs.wanted", needs: [train]}
"""


async def traced(client: MetaClient, run_id: str) -> list[Span]:
    """The trace of a run that has ended."""
    async with asyncio.timeout(60):
        await client.wait(run_id)
    spans = (await client.trace(run_id)).spans
    check_tree(spans)
    assert all(span.end is not None for span in spans)
    return spans


def spans_of(spans: list[Span], step: str, part: Part) -> list[Span]:
    return [span for span in spans if span.part is part and span.attributes.get("meta.step.name") == step]


async def test_submits_that_fail_and_are_refused_and_steps_that_are_skipped_are_in_the_trace(rig: Rig) -> None:
    rig.engine.unavailable = 1
    rig.engine.script["prepare"] = [Outcome(failure=FailureClass.FAILED, message="exit 1"), Outcome()]
    rig.engine.rejected["train"] = "no such template"
    async with rig.client() as client:
        started = await client.start(rig.chain(CHAIN))
        spans = await traced(client, started.id)
    attempts = spans_of(spans, "prepare", Part.ATTEMPT)
    assert [(span.name, span.status, span.message) for span in attempts] == [
        ("attempt 1", Status.ERROR, "exit 1"),
        ("attempt 2", Status.OK, ""),
    ]
    assert [span.name for span in spans_of(spans, "prepare", Part.SUBMIT)] == ["submit", "resume"]
    submit = spans_of(spans, "prepare", Part.SUBMIT)[0]
    (failed,) = spans_of(spans, "prepare", Part.WORK)
    assert (failed.parent_id, failed.name, failed.message) == (submit.span_id, "submit", "503 from the engine")
    assert submit.attributes["meta.tries"] == 2
    assert [event.attributes["exception.type"] for event in submit.events] == ["ENGINE_UNAVAILABLE"]
    assert submit.end is not None
    assert failed.end is not None
    assert submit.start <= failed.start <= failed.end < submit.end
    (refused,) = spans_of(spans, "train", Part.SUBMIT)
    assert (refused.status, refused.message) == (Status.ERROR, "no such template")
    (skipped,) = spans_of(spans, "deploy", Part.STEP)
    assert (skipped.start, skipped.attributes["meta.step.state"]) == (skipped.end, "skipped")
    assert spans_of(spans, "deploy", Part.ATTEMPT) == []


async def test_an_attempt_that_is_cut_ends_with_the_end_of_its_engine_run(rig: Rig) -> None:
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client:
        started = await client.start(rig.chain(CHAIN))
        async with asyncio.timeout(60):
            await anext(run async for run in client.watch(started.id) if run.steps[0].run is not None)
        going_on = (await client.trace(started.id)).spans
        check_tree(going_on)
        open_parts = {span.part for span in going_on if span.end is None}
        assert open_parts == {Part.RUN, Part.STEP, Part.ATTEMPT, Part.WAIT, Part.ENGINE}, "it goes on, and is shown"
        await client.cancel(started.id, "enough")
        spans = await traced(client, started.id)
    (cut,) = spans_of(spans, "prepare", Part.ATTEMPT)
    (ending,) = spans_of(spans, "prepare", Part.WORK)
    assert (ending.name, ending.parent_id, ending.status) == ("terminate", cut.span_id, Status.UNSET)
    assert cut.attributes["meta.failure"] == "cancelled"
    steps = [span for span in spans if span.part is Part.STEP]
    assert {span.attributes["meta.step.state"] for span in steps} == {StepState.CANCELLED.value}


async def test_a_store_that_takes_no_tries_fails_no_step(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: object, work: Work) -> None:
        raise ServiceUnavailable(f"the store is away for {work.what}")

    monkeypatch.setattr("meta.store.store.Store.worked", away)
    rig.engine.unavailable = 1
    async with rig.client() as client:
        started = await client.start(rig.chain(CHAIN))
        spans = await traced(client, started.id)
    assert [span for span in spans if span.part is Part.WORK] == []
    assert spans_of(spans, "prepare", Part.SUBMIT)[0].attributes["meta.tries"] == 2
    assert spans[1].status is Status.OK


async def test_a_run_that_nobody_knows_has_no_trace(rig: Rig) -> None:
    async with rig.client() as client:
        with pytest.raises(NotFound):
            await client.trace("chain-0")
