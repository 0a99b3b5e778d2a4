"""Use cases: the same definition on another kind of engine, when the table says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.client import RunView
from meta.trace import attributes as names
from meta.trace.model import Part
from tests.integration.service.servers import ARGO, Rig
from tests.integration.service.servers import rig as rig_of
from tests.stubs.pipelines import package, pipeline_spec
from tests.support.engine import ScriptedEngine
from workflows.bundle import build_bundle
from workflows.errors import UseCaseUnsettled
from workflows.outcome import EngineKind, FailureClass, Outcome, RunState, StepKind
from workflows.use_cases import UseCases

KINDS = {"argo": EngineKind.ARGO, "kfp": EngineKind.KFP}
ON_KFP = UseCases({"judging": "kfp"}, KINDS)
ON_ARGO = UseCases({"judging": "argo"}, KINDS)
JUDGE = package({**pipeline_spec(), "deploymentSpec": {"executors": {}}})
CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps:
  prepare:
    argo: {manifest: step.yaml}
  judge:
    needs: [prepare]
    useCase: judging
    argo: {manifest: step.yaml}
    kfp: {package: judge.yaml}
    retry: {attempts: 2, backoff: 0.05s}
"""


class Moving:
    """The chain's service, with an engine of each kind."""

    def __init__(self, rig: Rig, bundle_digest: str) -> None:
        self.rig = rig
        self.engines = {"argo": rig.engine, "kfp": ScriptedEngine(name="kfp", kind=EngineKind.KFP)}
        self._digest = bundle_digest

    async def start(self, use_cases: UseCases, request_id: str = "") -> str:
        temporal = await TemporalRuns.open(self.rig.config.temporal.address, "default", "")
        starter = Starter(self.rig.store, temporal, use_cases)
        started = await starter.start(bundle_digest=self._digest, inputs={}, trigger="api", request_id=request_id)
        return started.run_id

    async def ended(self, run_id: str) -> RunView:
        async with self.rig.client() as client:
            return [run async for run in client.watch(run_id)][-1]


@pytest.fixture
async def moving(temporal: Client, tmp_path: Path) -> AsyncGenerator[Moving]:
    async with rig_of(temporal, tmp_path) as rig:
        bundle = build_bundle(chain(rig))
        await rig.store.bundles.put(bundle)
        made = Moving(rig, bundle.digest)
        await rig.work(made.engines)
        yield made


def chain(rig: Rig) -> Path:
    file = rig.chain(CHAIN)
    (file.parent / "step.yaml").write_text(ARGO)
    (file.parent / "judge.yaml").write_text(JUDGE)
    return file


async def test_the_same_definition_moves_with_the_table_and_runs_in_flight_stay_where_they_are(moving: Moving) -> None:
    argo, kfp = moving.engines["argo"], moving.engines["kfp"]
    kfp.script = {"judge": [None, Outcome()]}  # the first is left running
    first = await moving.start(ON_KFP, "first")
    await kfp.until(lambda: kfp.steps() == ["judge"])

    second = await moving.ended(await moving.start(ON_ARGO))
    assert [(s.engine, s.kind) for s in second.steps] == [("argo", StepKind.ARGO), ("argo", StepKind.ARGO)]
    assert argo.steps() == ["prepare", "prepare", "judge"]
    assert argo.submitted[-1].manifest == ARGO

    # The run in flight: the table has moved, its next attempt has not; a repeat of its request finds it there.
    assert await moving.start(ON_ARGO, "first") == first
    kfp.finish("judge", Outcome(failure=FailureClass.FAILED, message="once"))
    run = await moving.ended(first)
    assert run.state is RunState.SUCCEEDED, run.message
    assert [(s.engine, s.kind, s.attempt) for s in run.steps] == [("argo", StepKind.ARGO, 1), ("kfp", StepKind.KFP, 2)]
    assert kfp.steps() == ["judge", "judge"]
    assert kfp.submitted[-1].manifest == JUDGE
    async with moving.rig.client() as client:
        spans = (await client.trace(first)).spans
    assert {s.attributes.get(names.ENGINE) for s in spans if s.part is Part.STEP} == {"argo", "kfp"}


async def test_a_start_whose_use_case_has_no_engine_is_refused_with_what_to_do(rig: Rig) -> None:
    async with rig.client() as client:
        with pytest.raises(UseCaseUnsettled, match="step 'judge': the service has no use case 'judging'") as caught:
            await client.start(build_bundle(chain(rig)), {})
        assert 'under [use_cases] in meta.toml: judging = "ENGINE"' in caught.value.hint
        assert (await client.list()).runs == [], "nothing was started"
