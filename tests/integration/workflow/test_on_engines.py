"""Retries and ends with the engines' own adapters, over HTTP: Temporal is real, the servers are stubs of their APIs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import ARGO_MANIFEST
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from tests.support.world import World, world
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import text
from workers.engines.kfp.engine import KfpEngine
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import StepState
from workflows.values import JsonObject

FILES = {"m.yaml": ARGO_MANIFEST, "p.yaml": package(pipeline_spec())}
SOURCES: dict[str, dict[str, object]] = {
    "argo": {"argo": {"manifest": "m.yaml"}},
    "kfp": {"kfp": {"package": "p.yaml"}},
}


@dataclass
class Servers:
    argo: ArgoStub
    kfp: KfpStub
    world: World

    async def start(self, engine: str, **step: object) -> WorkflowHandle[object, RunSnapshot]:
        retry = {"backoff": "10ms", "attempts": 2}
        given = step.pop("retry", {})
        assert isinstance(given, dict)
        whole: dict[str, object] = {"train": {**SOURCES[engine], "retry": {**retry, **given}, **step}}
        return await self.world.start(whole, files=FILES)

    async def ended(self, handle: WorkflowHandle[object, RunSnapshot]) -> StepSnapshot:
        """The step, when its run has ended in whatever way."""
        try:
            await handle.result()
        except WorkflowFailureError:
            pass
        return self.world.store.snapshots[handle.id].steps[0]

    async def created(self, engine: str, count: int = 1) -> None:
        """Until so many runs have been made; deleted workflows count, deleted KFP runs do not."""

        def made() -> int:
            return len(self.argo.workflows) + len(self.argo.archive) if engine == "argo" else len(self.kfp.runs)

        await eventually(lambda: made() >= count, f"{count} runs are created", timeout=60)


@pytest.fixture
async def servers() -> AsyncGenerator[Servers]:
    objects = ArtifactStore(StoreSettings(endpoint="http://127.0.0.1:1"))
    async with ArgoStub(duration=None) as argo, KfpStub(duration=None) as kfp:
        engines = {
            "argo": ArgoEngine("argo", ArgoSettings(url=argo.url, settle_delay=0.2, resync=1.0), objects),
            "kfp": KfpEngine("kfp", KfpSettings(url=kfp.url, settle_delay=0.2, poll=0.05, resync=0.5), objects),
        }
        async with world(engines) as w:
            yield Servers(argo, kfp, w)
        for engine in engines.values():
            await engine.close()


def exit_codes(*codes: int) -> Callable[[JsonObject], JsonObject]:
    """The status of workflows whose one pod fails with these codes, one after the other."""
    left = list(codes)

    def status(workflow: JsonObject) -> JsonObject:
        code = str(left.pop(0))
        pod: JsonObject = {"type": "Pod", "displayName": "main", "phase": "Failed", "outputs": {"exitCode": code}}
        return {"nodes": {text(workflow, "metadata", "name"): pod}}

    return status


async def test_auto_retries_a_workflow_in_place(servers: Servers) -> None:
    handle = await servers.start("argo", retry={"strategy": "auto"})
    await servers.created("argo")
    servers.argo.duration = 0.1  # of the retry, which succeeds
    servers.argo.finish(next(iter(servers.argo.workflows)), "Failed", "child failed")
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.SUCCEEDED, 2)
    assert (servers.argo.requests["create"], servers.argo.requests["retry"]) == (1, 1)


async def test_auto_runs_a_workflow_anew_that_was_deleted_when_it_failed(servers: Servers) -> None:
    servers.argo.faults.delete_at_end = servers.argo.faults.archive = True
    handle = await servers.start("argo", retry={"strategy": "auto", "attempts": 3})
    for attempt in (1, 2):
        await servers.created("argo", attempt)
        servers.argo.finish(next(iter(servers.argo.workflows)), "Failed", "child failed")
    await servers.created("argo", 3)
    servers.argo.finish(next(iter(servers.argo.workflows)))
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.SUCCEEDED, 3)
    assert (servers.argo.requests["create"], servers.argo.requests["retry"]) == (3, 0)


async def test_auto_runs_a_kfp_run_anew_that_the_server_cannot_retry(servers: Servers) -> None:
    servers.kfp.faults.refused_retries = 1
    handle = await servers.start("kfp", retry={"strategy": "auto"})
    await servers.created("kfp")
    servers.kfp.finish(next(iter(servers.kfp.runs)), "FAILED")
    await servers.created("kfp", 2)
    servers.kfp.finish(list(servers.kfp.runs)[1])
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.SUCCEEDED, 2)
    assert servers.kfp.requests["retry"] == 1


async def test_an_exit_code_decides_whether_a_workflow_is_run_again(servers: Servers) -> None:
    servers.argo.status = exit_codes(137, 1)
    killed = "outcome.failed_nodes.exists(n, n.exit_code == 137)"
    handle = await servers.start("argo", retry={"attempts": 5, "retryOn": killed})
    for attempt in (1, 2):
        await servers.created("argo", attempt)
        servers.argo.finish(list(servers.argo.workflows)[-1], "Failed", "child failed")
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.FAILED, 2)
    assert [node.exit_code for node in step.failed_nodes] == [1]
    assert servers.argo.requests["create"] == 2


async def test_the_words_of_a_kfp_run_decide_whether_it_is_run_again(servers: Servers) -> None:
    handle = await servers.start("kfp", retry={"attempts": 5, "retryOn": "outcome.message.contains('preempted')"})
    for attempt, words in enumerate(("node was preempted", "ValueError"), 1):
        await servers.created("kfp", attempt)
        servers.kfp.finish(list(servers.kfp.runs)[-1], "FAILED", words)
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.FAILED, 2)


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_a_run_whose_record_is_gone_is_run_again_where_on_lost_says_so(servers: Servers, engine: str) -> None:
    handle = await servers.start(engine, onLost="restart")
    await servers.created(engine)
    if engine == "argo":
        servers.argo.delete(next(iter(servers.argo.workflows)))
    else:
        servers.kfp.runs.clear()
    await servers.created(engine, 2 if engine == "argo" else 1)
    if engine == "argo":
        servers.argo.finish(next(iter(servers.argo.workflows)))
    else:
        servers.kfp.finish(next(iter(servers.kfp.runs)))
    step = await servers.ended(handle)
    assert (step.state, step.attempt) == (StepState.SUCCEEDED, 2)


async def test_a_cancel_stops_a_workflow_and_terminates_it_after_its_grace(servers: Servers) -> None:
    servers.argo.stopping = None
    handle = await servers.start("argo", cancelGrace="1s")
    await servers.created("argo")
    await handle.cancel()
    step = await servers.ended(handle)
    assert step.state is StepState.CANCELLED
    assert (servers.argo.requests["stop"], servers.argo.requests["terminate"]) == (1, 1)
    assert servers.argo.phase(next(iter(servers.argo.workflows))) == "Failed"


@pytest.mark.parametrize("ends_as", ["FAILED", "CANCELED"])
async def test_a_cancelled_kfp_run_is_cancelled_whatever_the_server_calls_it(servers: Servers, ends_as: str) -> None:
    servers.kfp.ends_as, servers.kfp.ending = ends_as, 0.3
    handle = await servers.start("kfp")
    await servers.created("kfp")
    await handle.cancel()
    step = await servers.ended(handle)
    assert step.state is StepState.CANCELLED
    assert [text(run, "state") for run in servers.kfp.runs.values()] == [ends_as]


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_a_run_over_the_time_of_its_step_is_ended_and_timed_out(servers: Servers, engine: str) -> None:
    step = await servers.ended(await servers.start(engine, timeout="2s"))
    assert step.state is StepState.TIMED_OUT
    assert servers.argo.requests["stop"] == (engine == "argo")
    phases = [servers.argo.phase(name) for name in servers.argo.workflows]
    assert phases + [text(run, "state") for run in servers.kfp.runs.values()] == (
        ["Failed"] if engine == "argo" else ["FAILED"]
    )
