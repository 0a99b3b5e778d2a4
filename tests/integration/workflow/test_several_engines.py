"""One chain over two Argo servers and two of KFP, each with its own address, namespace and credentials."""

from __future__ import annotations

import uuid

from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from tests.support.memory import MemoryStore
from tests.support.temporal import temporal_server
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.json_view import text
from workers.engines.registry import build_engines
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import ArgoSettings, EngineSettings, KfpSettings, StoreSettings
from workflows.bundle import Bundle
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, RunSnapshot, StartRun
from workflows.outcome import RunState
from workflows.spec.models import MetaWorkflow

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec: {entrypoint: main, templates: [{name: main, suspend: {}}]}
"""
STEPS = {
    "one": {"argo": {"manifest": "run.yaml", "engine": "argo-west"}},
    "two": {"argo": {"template": "t", "engine": "argo-east"}, "needs": ["one"]},
    "three": {"kfp": {"package": "train.yaml", "engine": "kfp-old"}, "needs": ["two"]},
    "four": {"kfp": {"pipeline": "up", "engine": "kfp-new", "serviceAccount": "own"}, "needs": ["three"]},
}


async def test_a_chain_runs_each_step_on_the_engine_that_it_names() -> None:
    async with (
        ArgoStub(namespace="west") as west,
        ArgoStub(namespace="east") as east,
        KfpStub() as old,
        KfpStub() as new,
        temporal_server() as client,
    ):
        east.templates["t"] = {"spec": {"arguments": {}}}
        new.upload("up", pipeline_spec())
        settings: dict[str, EngineSettings] = {
            "argo-west": ArgoSettings.model_validate({"url": west.url, "namespace": "west", "token": "w"}),
            "argo-east": ArgoSettings.model_validate({"url": east.url, "namespace": "east", "token": "e"}),
            "kfp-old": KfpSettings.model_validate({"url": old.url, "cookies": "o=1", "poll": 0.1}),
            "kfp-new": KfpSettings.model_validate({"url": new.url, "token": "n", "namespace": "ml", "poll": 0.1}),
        }
        objects, store = ArtifactStore(StoreSettings()), MemoryStore()
        engines = build_engines(settings, objects)
        definition = MetaWorkflow.model_validate(
            {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "chain"}, "steps": STEPS}
        )
        files = {"run.yaml": MANIFEST, "train.yaml": package(pipeline_spec())}
        digest = store.put(Bundle(definition=definition, files=files))
        await register_search_attributes(client)
        activities = Activities(engines=engines, objects=objects, bundles=store, recorder=store)
        async with run_workers(client, activities, Sizes(shutdown_grace_s=0.1)):
            started = await client.start_workflow(
                WORKFLOW_TYPE,
                StartRun(definition=definition, bundle_digest=digest, inputs={}),
                id=f"chain-{uuid.uuid4().hex[:8]}",
                task_queue=TASK_QUEUE,
                result_type=RunSnapshot,
            )
            result = await started.result()
        for engine in engines.values():
            await engine.close()

        assert result.state is RunState.SUCCEEDED, result.message
        assert [step.engine for step in result.steps] == ["argo-west", "argo-east", "kfp-old", "kfp-new"]
        ran = {step.name: step.run.name for step in result.steps if step.run is not None}
        assert (list(west.workflows), list(east.workflows)) == ([ran["one"]], [ran["two"]])
        for stub, name in ((old, ran["three"]), (new, ran["four"])):
            assert [text(run, "display_name") for run in stub.runs.values()] == [name]
        assert [text(run, "service_account") for run in new.runs.values()] == ["own"]
        assert (set(west.tokens), set(east.tokens)) == ({"Bearer w"}, {"Bearer e"})
        assert {sent.get("cookie") for sent in old.headers} == {"o=1"}
        assert {sent.get("authorization") for sent in new.headers} == {"Bearer n"}
