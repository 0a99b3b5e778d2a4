"""Compiled pipelines: run with their defaults or values of the right type, and judged by their tasks and outputs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import grpc
import urllib3
import yaml

from tests.corpus.verdict import Expected, Finding, Verdict
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc

Json = dict[str, Any]
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_VALUES: Json = {
    "STRING": "text", "NUMBER_INTEGER": 3, "NUMBER_DOUBLE": 0.5, "BOOLEAN": True, "LIST": ["a", "b"],
    "STRUCT": {"a": 1}, "TASK_FINAL_STATUS": {},
}  # fmt: skip


class KfpCorpus:
    """A folder of compiled pipelines on one server.

    Args:
        folder: the corpus.
        expected: by path below the folder.
        addresses: of the sandbox.
        timeout: seconds for one pipeline, beside the making of its environments.
    """

    def __init__(self, folder: Path, expected: dict[str, Expected], addresses: dict[str, str], timeout: float) -> None:
        self._folder, self._expected, self._timeout = folder, expected, timeout
        self._url = f"{addresses['kfp']}/apis/v2beta1"
        self._metadata = addresses["kfp_metadata"]
        self._http = urllib3.PoolManager(maxsize=20, retries=False, timeout=60)

    def files(self) -> list[str]:
        """The files that hold a compiled pipeline."""
        return [
            str(file.relative_to(self._folder))
            for file in sorted(self._folder.rglob("*.yaml"))
            if "pipelineInfo" in file.read_text() or "deploymentSpec" in file.read_text()
        ]

    def judge(self, name: str) -> Finding:
        """Run one pipeline."""
        start = time.monotonic()
        expected = self._expected.get(name, Expected())
        verdict, reason = self._judge(name, expected)
        return Finding(name, verdict, reason, time.monotonic() - start)

    def _judge(self, name: str, expected: Expected) -> tuple[Verdict, str]:
        documents = [d for d in yaml.safe_load_all((self._folder / name).read_text()) if d]
        spec = next(cast("Json", d) for d in documents if "deploymentSpec" in d or "root" in d)
        platform = next((cast("Json", d) for d in documents if "platforms" in d), None)
        document = spec if platform is None else {"pipeline_spec": spec, "platform_spec": platform}
        declared = cast("dict[str, Json]", spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}))
        parameters = {
            key: expected.arguments.get(key, _VALUES.get(one.get("parameterType", ""), "text"))
            for key, one in declared.items()
            if key in expected.arguments or ("defaultValue" not in one and not one.get("isOptional"))
        }
        body = {"display_name": name, "pipeline_spec": document, "runtime_config": {"parameters": parameters}}
        answer = self._http.request("POST", f"{self._url}/runs", json=body)
        run = cast("Json", answer.json())
        if answer.status == 400:
            return Verdict.REFUSED, str(run.get("message", run)).split("Invalid input error: ")[-1]
        if answer.status != 200:
            return Verdict.WRONG, f"HTTP {answer.status}: {run}"
        return self._check(self._finished(run["run_id"]), spec, expected)

    def _finished(self, run_id: str) -> Json:
        deadline = time.monotonic() + self._timeout
        while True:
            run = cast("Json", self._http.request("GET", f"{self._url}/runs/{run_id}").json())
            if run["state"] in _ENDED or time.monotonic() > deadline:
                return run
            time.sleep(0.3)

    def _check(self, run: Json, spec: Json, expected: Expected) -> tuple[Verdict, str]:
        wanted = expected.phase or "SUCCEEDED"
        tasks = cast("list[Json]", run.get("run_details", {}).get("task_details", []))
        if run["state"] != wanted and expected.fails_here:
            return Verdict.FAILS_HERE, expected.fails_here
        if wanted not in (run["state"], "*"):
            bad = [t["display_name"] for t in tasks if t.get("state") == "FAILED"]
            return Verdict.WRONG, f"ended {run['state']}, failed: {bad} {run.get('error', {}).get('message', '')}"
        running = [t["display_name"] for t in tasks if t.get("state") in ("RUNNING", "PENDING")]
        if running:
            return Verdict.WRONG, f"ended with tasks still running: {running}"
        if run["state"] != "SUCCEEDED":
            return Verdict.INTENDED, ""
        outputs = self._outputs(run["run_id"])
        declared = cast("Json", spec.get("root", {}).get("outputDefinitions", {}))
        missing = [name for kind in ("parameters", "artifacts") for name in declared.get(kind, {})
                   if name not in outputs]  # fmt: skip
        if missing:
            return Verdict.WRONG, f"declared outputs {missing} cannot be read; there are {sorted(outputs)}"
        wrong = {
            name: outputs.get(name) for name, value in expected.outputs.get("run", {}).items()
            if outputs.get(name) != value
        }  # fmt: skip
        return (Verdict.WRONG, f"outputs are {wrong}") if wrong else (Verdict.INTENDED, "")

    def _outputs(self, run_id: str) -> dict[str, str]:
        """Parameters and artifacts' URIs that the run's root execution gave, as the 2.x servers keep them."""
        with grpc.insecure_channel(self._metadata) as channel:
            stub = pb_grpc.MetadataStoreServiceStub(channel)
            context = stub.GetContextByTypeAndName(
                pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name=run_id)
            ).context
            found = stub.GetExecutionsByContext(pb.GetExecutionsByContextRequest(context_id=context.id)).executions
            root = next(one for one in found if not one.custom_properties["task_name"].string_value)
            outputs = root.custom_properties["outputs"].struct_value
            result = {key: _text(value) for key, value in outputs.fields.items()}
            events = stub.GetEventsByExecutionIDs(pb.GetEventsByExecutionIDsRequest(execution_ids=[root.id])).events
            names = {e.artifact_id: e.path.steps[0].key for e in events if e.type == pb.Event.OUTPUT}
            artifacts = stub.GetArtifactsByID(pb.GetArtifactsByIDRequest(artifact_ids=list(names))).artifacts
        return result | {names[artifact.id]: artifact.uri for artifact in artifacts}


def _text(value: Any) -> str:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return f"{value.number_value:g}"
    return str(value.bool_value).lower() if kind == "bool_value" else str(value)
