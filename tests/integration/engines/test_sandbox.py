"""The adapters against the embedded engines, over their REST APIs: submit, wait, results, terminate, resume.

The adapters know nothing of the sandbox: they are configured by the meta.toml that the stack writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import obstore
import pytest
import pytest_asyncio
import urllib3
from obstore.store import S3Store

from meta.config import load_config
from meta.stack.embedded import EmbeddedStack
from meta.stack.options import StackOptions
from meta.trace.model import Part, Span, Status
from tests.integration.engines.submissions import Pulse, argo_submission, key, kfp_submission
from tests.integration.sandbox_kfp import pipelines
from tests.integration.service.servers import rig
from tests.stubs.pipelines import package
from tests.support.temporal import temporal_server
from tests.support.traces import check_tree
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine, RunPhase, Verdict
from workers.engines.json_view import child, children, moment, text
from workers.engines.registry import build_engines
from workflows.bundle import Bundle, build_bundle
from workflows.errors import InputsInvalid
from workflows.outcome import Artifact, EngineRunRef, FailureClass, Outcome, RunState
from workflows.spec import load_definition
from workflows.spec.sources import ArgoSource, KfpSource
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
        self.by_name = engines
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

    def get(self, engine: str, path: str) -> JsonObject:
        """What an engine's API says."""
        with urllib3.PoolManager() as http:
            return cast("JsonObject", http.request("GET", self._urls[engine] + path).json())

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


HYBRID = """
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
inputs: {folder: {type: string}}
steps:
  fan:
    argo: {manifest: fan.yaml}
    parameters: {folder: "${{ inputs.folder }}"}
    retry: {attempts: 2, strategy: resume, backoff: 10ms}
  need:
    kfp: {package: need.yaml}
    needs: [fan]
    parameters: {folder: "${{ inputs.folder }}"}
"""
FAN = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: main
  arguments: {parameters: [{name: folder}]}
  templates:
    - name: main
      dag:
        tasks:
          - {name: item, template: item, withItems: [1, 2, 3]}
          - {name: third, template: third, depends: item}
    - name: item
      container: {image: "alpine:3", command: [sh, -c], args: ["true"]}
    - name: third
      retryStrategy: {limit: "1"}
      container:
        image: alpine:3
        command: [sh, -c]
        args: ["cd {{workflow.parameters.folder}}; echo >> tries; test $(wc -l < tries) -ge 3"]
"""


async def test_the_trace_of_a_chain_over_both_has_their_own_times_of_every_node(
    engines: Engines, tmp_path: Path
) -> None:
    (tmp_path / "repaired").touch()
    bundle = Bundle(
        definition=load_definition(HYBRID), files={"fan.yaml": FAN, "need.yaml": package(pipelines.spec("needing"))}
    )
    async with temporal_server() as temporal, rig(temporal, tmp_path) as service, service.client() as client:
        await service.work(engines.by_name, engines.objects)
        started = await client.start(bundle, {"folder": str(tmp_path)})
        async with asyncio.timeout(90):
            run = await client.wait(started.id)
        assert run.state is RunState.SUCCEEDED, run.message
        spans = (await client.trace(started.id)).spans
    check_tree(spans)
    fan, need = (step.run for step in run.steps)
    assert fan is not None
    assert need is not None
    by_engine = [span for span in spans if span.part is Part.ENGINE]
    assert [span.attributes["meta.engine.run.name"] for span in by_engine] == [fan.name, fan.name, need.name]

    status = child(await asyncio.to_thread(engines.get, "argo", f"/api/v1/workflows/argo/{fan.name}"), "status")
    assert times(by_engine[1]) == (moment(status["startedAt"]), moment(status["finishedAt"]))
    shown = {span.attributes["meta.node.id"]: span for span in spans if span.part is Part.NODE}
    nodes = child(status, "nodes")
    assert len(nodes) == 7, "the DAG, a group of three, and the last try of what was tried again"
    for node_id in nodes:
        told = child(nodes, node_id)
        assert times(shown[node_id]) == (moment(told["startedAt"]), moment(told["finishedAt"])), told
        assert shown[node_id].attributes["meta.node.phase"] == told["phase"] == "Succeeded"
    first = [span for span in spans if span.part is Part.NODE and span.attributes["meta.attempt"] == 1]
    assert {span.name for span in first if span.status is Status.ERROR} == {fan.name, "third", "third(0)", "third(1)"}
    assert [span.attributes["meta.attempt"] for span in spans if span.name.startswith("item(")] == [1, 1, 1]
    (retried,) = [span for span in first if span.name == "third"]
    assert [event.name for event in retried.events] == ["retry", "Failed"]

    ran = await asyncio.to_thread(engines.get, "kfp", f"/apis/v2beta1/runs/{need.uid}")
    assert times(by_engine[2]) == (moment(ran["created_at"]), moment(ran["finished_at"]))
    tasks = {text(task, "display_name"): task for task in children(ran, "run_details", "task_details")}
    for name in ("root", "count", "need"):
        (span,) = [span for span in spans if span.part is Part.NODE and span.name == name]
        for at, key_ in zip(times(span), ("start_time", "end_time"), strict=True):
            said = moment(tasks[name][key_])
            assert at is not None
            assert said is not None
            assert abs(at - said) <= timedelta(seconds=1), "the API cuts what ML Metadata has to whole seconds"


def times(span: Span) -> tuple[datetime, datetime | None]:
    return span.start, span.end
