"""Chains of thirty steps that fail or are cancelled anywhere: nothing runs on, and what was done is taken back once.

A seed decides the graph, which steps have compensations, where the run fails or is cancelled, in which order engine
runs end, and which compensations fail, are tried again, or are going on when somebody cancels once more. The expected
order is read from the history: in which order the waits of the steps have succeeded.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory

from tests.support.world import World
from workflows.messages import RunSnapshot, StepRole
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Outcome, RunState, StepState

ARGO = {"argo": {"manifest": "m.yaml"}}
FAILED = Outcome(failure=FailureClass.FAILED, message="why")
COUNT = 30
AT_ONCE = 5  # more would only wait for the processor, until Temporal takes a workflow for stuck


@dataclass
class Trial:
    """One seed."""

    world: World
    seed: int
    steps: dict[str, object] = field(default_factory=dict[str, object])
    tries: dict[str, int] = field(default_factory=dict[str, int])  # of compensations

    def __post_init__(self) -> None:
        self.draw = draw = random.Random(self.seed)
        names = [f"t{self.seed}_s{i}" for i in range(COUNT)]
        script = self.world.engine.script
        for i, name in enumerate(names):
            needs = set(draw.sample(names[:i], min(i, draw.randint(0, 2)))) | set(
                names[i - 1 : i][: draw.random() < 0.5]
            )
            self.steps[name] = {**ARGO, "needs": sorted(needs)}
            if draw.random() < 0.5:
                script[name] = [None]
            if draw.random() < 0.6:
                self.steps[name] = {
                    **ARGO,
                    "needs": sorted(needs),
                    "compensate": {**ARGO, "retry": {"attempts": 2, "backoff": "10ms"}},
                }
                ends = draw.choice(([Outcome()], [Outcome()], [FAILED, Outcome()], [FAILED, FAILED], [None]))
                script[f"compensate_{name}"] = [*ends]
                self.tries[f"compensate_{name}"] = len(ends)
        self.cancel_at = draw.randint(1, COUNT) if draw.random() < 0.5 else 0
        if not self.cancel_at:
            script[draw.choice(names)] = [FAILED]
        self.once_more, self.late = draw.random() < 0.5, False

    async def run(self) -> Counter[str]:
        """What there was to see, beside what is checked here."""
        last: dict[str, object] = {f"t{self.seed}_last": ARGO}
        handle = await self.world.start(self.steps, last=last)
        ended = asyncio.ensure_future(handle.result())
        while not ended.done():
            news = asyncio.ensure_future(self.world.engine.until(lambda: self._wants(handle), timeout_s=120))
            await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
            if not news.done():
                news.cancel()
                break
            await self._act(handle)
        try:
            await ended
        except WorkflowFailureError:
            pass
        assert self._running(handle) == [], "an engine run goes on after the end"
        self.check(handle, await handle.fetch_history())
        run = self.world.store.snapshots[handle.id]
        undo = sum(step.role is StepRole.COMPENSATION for step in run.steps)
        return Counter({run.state.value: 1, "compensations": undo, "cancelled meanwhile": int(self.late)})

    def _running(self, handle: WorkflowHandle[object, RunSnapshot]) -> list[RunKey]:
        return [key for key in self.world.engine.running() if key.meta_run == handle.id]

    def _submitted(self, handle: WorkflowHandle[object, RunSnapshot]) -> list[RunKey]:
        return [one.key for one in self.world.engine.submitted if one.key.meta_run == handle.id]

    def _wants(self, handle: WorkflowHandle[object, RunSnapshot]) -> bool:
        return bool(self._running(handle)) or 0 < self.cancel_at <= len(self._submitted(handle))

    async def _act(self, handle: WorkflowHandle[object, RunSnapshot]) -> None:
        if 0 < self.cancel_at <= len(self._submitted(handle)):
            self.cancel_at = 0
            await handle.cancel()
        running = self._running(handle)
        if self.once_more and any(key.step.startswith("compensate_") for key in running):
            self.once_more, self.late = False, True
            await handle.cancel()
        if running:
            self.world.engine.finish(self.draw.choice(running).step)

    def check(self, handle: WorkflowHandle[object, RunSnapshot], history: WorkflowHistory) -> None:
        run = self.world.store.snapshots[handle.id]
        states = {step.name: step.state for step in run.steps}
        undo = [step for step in run.steps if step.role is StepRole.COMPENSATION]
        done = [name for name in reversed(succeeded(history)) if states[name] is StepState.SUCCEEDED]
        expected = [f"compensate_{name}" for name in done if f"compensate_{name}" in self.tries]
        if run.state is RunState.SUCCEEDED:
            expected = []
        keys = [key for key in self._submitted(handle) if key.step.startswith("compensate_")]
        assert [name for name, _ in groupby(key.step for key in keys)] == expected
        assert [step.name for step in undo] == expected
        for name in expected:
            assert [key.attempt for key in keys if key.step == name] == list(range(1, self.tries[name] + 1))
        for one, following in pairwise(undo):
            assert one.finished_at is not None and following.started_at is not None
            assert one.finished_at <= following.started_at
        stays = [step.name for step in undo if step.state is not StepState.SUCCEEDED]
        assert stays == [name for name in expected if self.world.engine.script[name] == [FAILED, FAILED]]
        assert ("not taken back" in run.message) == bool(stays)
        assert all(name in run.message for name in stays)
        assert [key.step for key in self._submitted(handle)][-1] == f"t{self.seed}_last"
        assert states[f"t{self.seed}_last"] is StepState.SUCCEEDED
        assert all(state.ended for state in states.values())


def succeeded(history: WorkflowHistory) -> list[str]:
    """Steps by the order in which their waits came back with a success; compensations and last steps left out."""
    waits: dict[int, str] = {}
    found: list[str] = []
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        completed = event.activity_task_completed_event_attributes
        if scheduled.activity_type.name == "wait":
            waits[event.event_id] = json.loads(scheduled.input.payloads[0].data)["key"]["step"]
        elif (name := waits.get(completed.scheduled_event_id)) is not None:
            if not json.loads(completed.result.payloads[0].data).get("failure"):
                found.append(name)
    return [name for name in found if not name.startswith("compensate_") and not name.endswith("_last")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 100), marks=pytest.mark.prove)])
async def test_what_was_done_is_taken_back_once_wherever_the_run_ends(world: World, seeds: range) -> None:
    seen: Counter[str] = Counter()
    for at in range(seeds.start, seeds.stop, AT_ONCE):
        trials = (Trial(world, seed).run() for seed in range(at, min(at + AT_ONCE, seeds.stop)))
        seen = sum(await asyncio.gather(*trials), seen)
    if len(seeds) > 10:
        assert min(seen["failed"], seen["canceled"]) > len(seeds) / 5, seen
        assert seen["cancelled meanwhile"] > len(seeds) / 20, seen
