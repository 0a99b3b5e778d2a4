"""The adapters against the embedded engines, over their REST APIs: submit, wait, results, terminate, resume.

The adapters know nothing of the sandbox: they are configured by the meta.toml that the stack writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import obstore
import pytest
import pytest_asyncio
import urllib3
from obstore.store import S3Store

from meta.config import load_config
from meta.stack.embedded import EmbeddedStack
from meta.stack.options import StackOptions
from tests.integration.engines.submissions import Pulse, argo_submission, key, kfp_submission
from tests.integration.sandbox_kfp import pipelines
from tests.stubs.pipelines import package
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine, RunPhase, Verdict
from workers.engines.registry import build_engines
from workflows.bundle import build_bundle
from workflows.errors import InputsInvalid
from workflows.outcome import Artifact, EngineRunRef, FailureClass, Outcome
from workflows.spec.models import ArgoSource, KfpSource
from workflows.values import JsonObject

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENVIRONMENTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meta-workflows" / "environments"
"""Kept between sessions: what a minute's download fills the first time."""

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: main
  arguments:
    parameters: [{name: marker, value: ""}, {name: more, value: ""}]
    artifacts: [{name: source-data}]
  templates:
    - name: main
      inputs: {artifacts: [{name: source-data}]}
      dag:
        tasks:
          - name: count
            template: count
            arguments:
              artifacts: [{name: source-data, from: "{{inputs.artifacts.source-data}}"}]
          - {name: flaky, template: flaky, dependencies: [count]}
      outputs:
        parameters:
          - {name: bytes, valueFrom: {parameter: "{{tasks.count.outputs.parameters.bytes}}"}}
        artifacts:
          - {name: copy, from: "{{tasks.count.outputs.artifacts.copy}}"}
    - name: count
      inputs: {artifacts: [{name: source-data, path: /tmp/in}]}
      container:
        image: alpine:3
        command: [sh, -c]
        args: ["echo counting; cat /tmp/in /tmp/in > /tmp/out; wc -c < /tmp/out | tr -d ' \\\\n' > /tmp/bytes"]
      outputs:
        parameters: [{name: bytes, valueFrom: {path: /tmp/bytes}}]
        artifacts: [{name: copy, path: /tmp/out, archive: {none: {}}}]
    - name: flaky
      container:
        image: alpine:3
        command: [sh, -c]
        args: ["{{workflow.parameters.more}}; M={{workflow.parameters.marker}}; test -z $M || rm $M"]
"""


class Engines:
    """Both engines and their store."""

    def __init__(self, stack: EmbeddedStack) -> None:
        config = load_config(stack.config_file)
        self.objects = ArtifactStore(config.objects)
        engines = build_engines(config.engines, self.objects)
        self.argo: Engine = engines["argo"]
        self.kfp: Engine = engines["kfp"]
        self.bucket = stack.bucket
        self._urls = {name: settings.url for name, settings in config.engines.items()}
        self._store = S3Store(
            stack.bucket,
            endpoint=stack.addresses.s3,
            access_key_id=stack.credentials.access_key,
            secret_access_key=stack.credentials.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def post(self, engine: str, path: str, body: JsonObject) -> int:
        """POST to an engine's API as somebody else would; the status."""
        with urllib3.PoolManager() as http:
            return http.request("POST", self._urls[engine] + path, json=body).status

    def put(self, object_key: str, data: bytes) -> Artifact:
        obstore.put(self._store, object_key, data)
        return Artifact(
            name="given",
            uri=f"s3://{self.bucket}/{object_key}",
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engines]:
    folder = tmp_path_factory.mktemp("stack")
    options = StackOptions(data_dir=folder, parts=["argo", "kfp"], environments=ENVIRONMENTS)
    async with EmbeddedStack(options) as stack:
        engines = Engines(stack)
        yield engines
        await engines.argo.close()
        await engines.kfp.close()


async def ended(engine: Engine, ref: EngineRunRef, seconds: float = 90) -> Outcome:
    return await asyncio.wait_for(engine.wait(ref, Pulse()), seconds)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_argo_runs_a_dag_on_an_artifact_and_its_results_are_read(engines: Engines) -> None:
    given = engines.put("in/numbers", b"12345")
    submission = argo_submission(
        run_key=key("dag"), manifest=MANIFEST, artifacts={"source_data": given}, parameters={"more": "true"}
    )
    ref = await engines.argo.submit(submission)
    assert await engines.argo.submit(submission) == ref

    outcome = await ended(engines.argo, ref)
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"bytes": "10"}
    copy = outcome.artifacts["copy"]
    assert (copy.size, copy.sha256) == (10, hashlib.sha256(b"1234512345").hexdigest())
    await engines.objects.check(copy)
    nodes = {node.name: node for node in outcome.nodes}
    assert {nodes[name].phase for name in ("count", "flaky")} == {"Succeeded"}
    assert nodes["count"].started_at is not None
    assert ("count", "counting") in [(line.node, line.text) async for line in engines.argo.logs(ref)]


async def test_argo_terminates_a_running_workflow(engines: Engines, tmp_path: Path) -> None:
    given = engines.put("in/numbers", b"12345")
    started = tmp_path / "started"
    submission = argo_submission(
        run_key=key("end"),
        manifest=MANIFEST,
        artifacts={"source_data": given},
        parameters={"more": f"touch {started}; sleep 300"},
    )
    ref = await engines.argo.submit(submission)
    wait = asyncio.create_task(ended(engines.argo, ref))
    await until(started.exists)
    assert await engines.argo.terminate(submission.key, submission.name, ref)
    assert (await wait).failure is FailureClass.CANCELLED
    assert await engines.argo.terminate(submission.key, submission.name, ref)


async def test_argo_resumes_a_failed_workflow_in_place_and_keeps_what_succeeded(
    engines: Engines, tmp_path: Path
) -> None:
    given = engines.put("in/numbers", b"12345")
    marker = tmp_path / "marker"
    submission = argo_submission(
        run_key=key("again"),
        manifest=MANIFEST,
        artifacts={"source_data": given},
        parameters={"marker": str(marker), "more": "true"},
    )
    ref = await engines.argo.submit(submission)
    failed = await ended(engines.argo, ref)
    assert failed.failure is FailureClass.FAILED
    assert "flaky: " in failed.message

    marker.touch()
    assert await engines.argo.resume(ref, key("again", 2)) == ref
    outcome = await ended(engines.argo, ref)
    assert outcome.succeeded, outcome.message
    first, second = ({n.name: n for n in o.nodes}["count"] for o in (failed, outcome))
    assert first.finished_at == second.finished_at


async def test_kfp_runs_a_pipeline_on_an_artifact_and_its_declared_outputs_are_read(engines: Engines) -> None:
    given = engines.put("in/text", b"some text")
    submission = kfp_submission(
        package(pipelines.spec("train_and_evaluate")),
        run_key=key("pipeline"),
        artifacts={"dataset": given},
        parameters={"rate": 0.25},
    )
    ref = await engines.kfp.submit(submission)
    assert await engines.kfp.submit(submission) == ref

    outcome = await ended(engines.kfp, ref)
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"accuracy": 1.0}
    model = outcome.artifacts["model"]
    assert model.type == "system.Model"
    assert model.metadata["framework"] == "none"
    assert model.sha256 == hashlib.sha256(b"some text at 0.25").hexdigest()
    await engines.objects.check(model)
    assert {"train", "evaluate"} <= {node.name for node in outcome.nodes}

    again = await engines.kfp.submit(
        kfp_submission(
            submission.manifest, run_key=key("cached"), artifacts={"dataset": given}, parameters={"rate": 0.25}
        )
    )
    cached = await ended(engines.kfp, again)
    assert cached.outputs == outcome.outputs
    assert cached.cached_nodes >= 2


async def test_kfp_terminates_a_running_run(engines: Engines, tmp_path: Path) -> None:
    submission = kfp_submission(
        package(pipelines.spec("holding")), run_key=key("hold"), parameters={"folder": str(tmp_path)}
    )
    ref = await engines.kfp.submit(submission)
    wait = asyncio.create_task(ended(engines.kfp, ref))
    await until(lambda: any(tmp_path.iterdir()))
    assert await engines.kfp.terminate(submission.key, submission.name, ref)
    assert (await wait).failure is FailureClass.CANCELLED


async def test_kfp_resumes_a_failed_run_in_place(engines: Engines, tmp_path: Path) -> None:
    submission = kfp_submission(
        package(pipelines.spec("needing")), run_key=key("need"), parameters={"folder": str(tmp_path)}
    )
    ref = await engines.kfp.submit(submission)
    failed = await ended(engines.kfp, ref)
    assert failed.failure is FailureClass.FAILED
    assert "need" in failed.message

    (tmp_path / "repaired").touch()
    assert await engines.kfp.resume(ref, key("need", 2)) == ref
    outcome = await ended(engines.kfp, ref)
    assert outcome.succeeded, outcome.message
    assert (tmp_path / "count").read_text() == "x"  # the task before it was not run again


CRON: JsonObject = {
    "metadata": {"name": "nightly"},
    "spec": {
        "schedules": ["0 3 * * *"],
        "suspend": True,
        "workflowMetadata": {"labels": {"tier": "night"}},
        "workflowSpec": {
            "entrypoint": "main",
            "arguments": {"parameters": [{"name": "word", "value": "a", "enum": ["a", "b"]}]},
            "templates": [
                {
                    "name": "main",
                    "container": {
                        "image": "alpine:3",
                        "command": ["sh", "-c"],
                        "args": ["echo {{workflow.parameters.word}} > /tmp/word"],
                    },
                    "outputs": {"parameters": [{"name": "word", "valueFrom": {"path": "/tmp/word"}}]},
                }
            ],
        },
    },
}


async def test_argo_runs_what_a_cron_workflow_schedules(engines: Engines) -> None:
    made = await asyncio.to_thread(engines.post, "argo", "/api/v1/cron-workflows/argo", {"cronWorkflow": CRON})
    assert made == 200
    source = ArgoSource(cron_workflow="nightly")
    ref = await engines.argo.submit(argo_submission(run_key=key("cron"), source=source, parameters={"word": "b"}))
    outcome = await ended(engines.argo, ref)
    assert outcome.succeeded, outcome.message
    assert str(outcome.outputs["word"]).strip() == "b"
    with pytest.raises(InputsInvalid, match="parameter 'word' cannot be 'c'"):
        await engines.argo.submit(argo_submission(run_key=key("odd"), source=source, parameters={"word": "c"}))


PYTHON = """
from kfp import dsl


@dsl.component(base_image="python:3.11")
def add(x: int, y: int) -> int:
    return x + y


@dsl.pipeline
def adder(x: int, y: int = 2) -> int:
    return add(x=x, y=y).output
"""


async def test_kfp_runs_a_pipeline_that_the_definition_names_as_python(engines: Engines, tmp_path: Path) -> None:
    (tmp_path / "pipelines.py").write_text(PYTHON)
    (tmp_path / "chain.yaml").write_text(
        "{apiVersion: meta/v1, kind: MetaWorkflow, metadata: {name: chain},"
        " steps: {sum: {kfp: {package: pipelines.py}, parameters: {x: 40}}}}"
    )
    bundle = await asyncio.to_thread(build_bundle, tmp_path / "chain.yaml")
    source = KfpSource(package="pipelines.py", experiment="sums", pipeline_root=f"s3://{engines.bucket}/sums")
    submission = kfp_submission(bundle.files["pipelines.py"], run_key=key("sum"), source=source, parameters={"x": 40})
    outcome = await ended(engines.kfp, await engines.kfp.submit(submission))
    assert outcome.succeeded, outcome.message
    assert outcome.outputs == {"Output": 42}


async def test_both_engines_are_healthy(engines: Engines) -> None:
    for engine in (engines.argo, engines.kfp):
        health = await engine.health()
        assert health.ok, health
        assert health.version
        asked = {check.name: check for check in health.checks}
        assert {asked[name].verdict for name in ("reach", "version", "namespace", "list", "create")} == {Verdict.OK}


async def test_both_list_our_runs_while_they_go_on(engines: Engines, tmp_path: Path) -> None:
    given = engines.put("in/numbers", b"12345")
    on_argo = argo_submission(
        run_key=key("listed"), manifest=MANIFEST, artifacts={"source_data": given}, parameters={"more": "sleep 300"}
    )
    on_kfp = kfp_submission(
        package(pipelines.spec("holding")), run_key=key("listed"), parameters={"folder": str(tmp_path)}
    )
    for engine, submission in ((engines.argo, on_argo), (engines.kfp, on_kfp)):
        ref = await engine.submit(submission)
        assert (str(key("listed")), ref) in [(run.key, run.ref) async for run in engine.list_ours()]
        assert await engine.phase_of(ref) is RunPhase.RUNNING
        assert await engine.terminate(submission.key, submission.name, ref)
        assert ref not in [run.ref async for run in engine.list_ours()]
        assert await engine.phase_of(ref) is RunPhase.FAILED
