"""The catalogue's chain on a running stack, and what tests ask about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from meta.client import MetaClient, RunView
from meta.stack import Addresses
from meta.trace.model import Part, Span
from tests.support.engines import EngineApis
from workflows.messages import StepSnapshot
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import StepState
from workflows.trace import engine_span_id

CHAIN = Path(__file__).parents[2] / "workflows" / "catalog" / "hybrid-training" / "workflow.yaml"


def environments_folder() -> Path:
    """The steps' Python environments outlive a session: making them takes a minute on a machine that never had them."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "meta-workflows" / "environments"


class Chain:
    """Starts the chain and waits for the middle of `train`.

    Args:
        client: of the stack's service; it rides out the service's death.
        addresses: of the stack.
    """

    def __init__(self, client: MetaClient, addresses: Addresses) -> None:
        self.client = client
        self.engines = EngineApis(addresses.argo, addresses.kfp)

    async def start_training(self, *, epochs: int, seed: int) -> RunView:
        """Start a run and return while KFP trains. A seed of its own keeps the run out of KFP's cache."""
        started = await self.client.start(CHAIN, {"epochs": epochs, "seed": seed})
        async for run in self.client.watch(started.id):
            assert not run.state.ended, run.message
            train = step_of(run, "train")
            if train.state is StepState.RUNNING and train.run is not None:
                await self.engines.kfp_task_running(train.run.uid, "train")
                return run
        raise AssertionError("the watch ended before train ran")

    async def ended(self, run_id: str) -> RunView:
        """The run once it has ended, however it did."""
        runs = [run async for run in self.client.watch(run_id)]
        return runs[-1]

    async def assert_one_engine_run_per_attempt(self, run: RunView) -> None:
        """Each engine shows exactly one run for every attempt of its steps, and all of them have ended."""
        expected = {
            engine_run_name(run.workflow, RunKey(meta_run=run.id, step=step.name, attempt=number))
            for step in run.steps
            for number in range(1, step.attempt + 1)
        }
        found = [r for r in [*await self.engines.argo_runs(), *await self.engines.kfp_runs()] if r.name in expected]
        assert sorted(r.name for r in found) == sorted(expected)
        assert all(r.ended for r in found), found

    async def assert_engine_times(self, run: RunView, spans: Sequence[Span]) -> None:
        """The trace has every engine run of the run, with the start and the end that its engine shows."""
        expected = {
            engine_span_id(key): engine_run_name(run.workflow, key)
            for step in run.steps
            for number in range(1, step.attempt + 1)
            for key in [RunKey(meta_run=run.id, step=step.name, attempt=number)]
        }
        shown = {r.name: r for r in [*await self.engines.argo_runs(), *await self.engines.kfp_runs()]}
        found = {span.span_id: (span.start, span.end) for span in spans if span.part is Part.ENGINE}
        assert found == {own: (shown[name].started_at, shown[name].finished_at) for own, name in expected.items()}


def step_of(run: RunView, name: str) -> StepSnapshot:
    return next(step for step in run.steps if step.name == name)
