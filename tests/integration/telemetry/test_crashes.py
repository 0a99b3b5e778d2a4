"""Stories of runs at random, told by exporters that are cut off at random, as a kill does it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from meta.config import TelemetryConfig
from meta.server_process import end_task
from meta.store import Store
from meta.telemetry.exporter import Pace, TraceExporter
from meta.trace.model import Part
from tests.integration.telemetry.stories import begin, forgotten
from tests.support.otlp import GrpcCollector, Received
from tests.unit.store.test_store import AT, REF, snapshot
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Node, Outcome, RunState, StepState
from workflows.trace import trace_id

PACE = Pace(linger=0.0, poll=0.01, claim=0.05, first_pause=0.01, longest_pause=0.02, again=0.05)
Change = Callable[[], Coroutine[object, object, None]]


def said(run_id: str, attempt: int, state: StepState, at: datetime, *, ended: bool = False) -> RunSnapshot:
    """What the workflow says of its run: `prepare` is in some state, and `train` is skipped in the end."""
    run = snapshot(run_id)
    prepare = run.steps[0].model_copy(
        update={
            "state": state, "attempt": attempt, "run": REF, "started_at": AT,
            "finished_at": at if state.ended else None,
        }
    )  # fmt: skip
    if not ended:
        return run.model_copy(update={"steps": [prepare, run.steps[1]]})
    train = run.steps[1].model_copy(update={"state": StepState.SKIPPED})
    return run.model_copy(update={"state": RunState.FAILED, "finished_at": at, "steps": [prepare, train]})


def story(store: Store, run_id: str, chance: random.Random) -> list[Change]:
    """Changes of the store in the order of their coming: some attempts, of which the last succeeds or not."""
    attempts, good = chance.randint(1, 3), chance.random() < 0.5
    changes: list[Change] = [lambda: begin(store, run_id)]
    at = AT
    for number in range(1, attempts + 1):
        at += timedelta(seconds=1)
        key = RunKey(meta_run=run_id, step="prepare", attempt=number)
        ref = REF.model_copy(update={"uid": f"{run_id}-{number}"})
        node = Node(id="n", name="main", type="Pod", phase="Succeeded", started_at=at, finished_at=at)
        failure = None if good and number == attempts else FailureClass.FAILED
        outcome = Outcome(failure=failure, nodes=[node], started_at=at, finished_at=at)
        late = at + timedelta(milliseconds=chance.randint(1, 900))
        changes += [
            lambda key=key, ref=ref, at=at: store.attempt_submitted("chain", key, ref, at, asked_at=at),
            lambda key=key, ref=ref, outcome=outcome, late=late: store.attempt_ended("chain", key, ref, outcome, late),
        ]
        if number < attempts:
            running = said(run_id, number + 1, StepState.RUNNING, late)
            changes.append(lambda running=running: store.snapshot(running))
    over = at + timedelta(seconds=1)  # the workflow's own word comes later, and has another time
    state = StepState.SUCCEEDED if good else StepState.FAILED
    if not good:
        changes.append(lambda: store.snapshot(said(run_id, attempts, state, over)))
    changes.append(lambda: store.snapshot(said(run_id, attempts, state, over, ended=True)))
    return changes


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(3, 40))])
async def test_traces_are_whole_at_any_time_and_repeats_are_the_same(
    store: Store, collector: GrpcCollector, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    runs = [f"chain-{seed}-{n}" for n in range(4)]
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    deaths = 0
    exporting: dict[str, asyncio.Task[None]] = {}

    def die(request: Received) -> None:
        """Cut off who sent this, before the answer."""
        nonlocal deaths
        if not deaths or (deaths < 6 and chance.random() < 0.4):
            deaths += 1
            exporting[request.headers["who"]].cancel()

    async def lives(who: str) -> None:
        telemetry = TelemetryConfig(otlp_endpoint=collector.endpoint, otlp_headers={"who": SecretStr(who)})
        async with await Store.open(url, sinks=("otlp",)) as own:
            while True:
                exporter = TraceExporter(telemetry, own, PACE)
                exporting[who] = asyncio.create_task(exporter.run(), name=f"exporter {who}")
                try:
                    await asyncio.wait([exporting[who]])
                finally:
                    await end_task(exporting[who])
                    await exporter.close()

    services = [asyncio.create_task(lives(who)) for who in ("a", "b")]
    collector.heard = die
    stories = {run_id: story(store, run_id, chance) for run_id in runs}
    while stories:
        run_id = chance.choice(list(stories))
        await stories[run_id].pop(0)()
        if not stories[run_id]:
            del stories[run_id]
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.03)  # so that what is told varies
    await forgotten(store)
    for service in services:
        await end_task(service)
    assert collector.faults == []
    for run_id in runs:
        spans = {span.span_id: span for span in collector.trace(trace_id(run_id, {}))}.values()
        record = await store.traces.record(run_id)
        assert sum(span.part is Part.RUN for span in spans) == 1
        assert sum(span.part is Part.ATTEMPT for span in spans) == len(record.attempts)
        assert sum(span.part is Part.NODE for span in spans) == len(record.attempts)
    assert deaths
