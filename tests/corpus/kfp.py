"""Compiled pipelines: run with their defaults or values of the right type, and judged by their tasks and outputs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import urllib3
import yaml

from tests.corpus.verdict import Expected, Finding, Verdict
from workers.engines.kfp.ir import Pipeline
from workers.engines.kfp.metadata import MetadataReader
from workers.engines.kfp.tasks import TaskRecord, read_pipeline_outputs

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
        return self._check(self._finished(run["run_id"], expected.stop), spec, expected)

    def _finished(self, run_id: str, stop: str) -> Json:
        deadline = time.monotonic() + self._timeout
        while True:
            run = cast("Json", self._http.request("GET", f"{self._url}/runs/{run_id}").json())
            if run["state"] in _ENDED:
                return run
            tasks = cast("list[Json]", run.get("run_details", {}).get("task_details", []))
            if time.monotonic() > deadline:
                self._http.request("POST", f"{self._url}/runs/{run_id}:terminate")
                return run
            if stop and any(task.get("state") == "RUNNING" and "executor" in task["display_name"] for task in tasks):
                self._http.request("POST", f"{self._url}/runs/{run_id}:{stop}")
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
        wrong = self._outputs_wrong(run, spec, expected) if run["state"] == "SUCCEEDED" else ""
        return (Verdict.WRONG, wrong) if wrong else (Verdict.INTENDED, "")

    def _outputs_wrong(self, run: Json, spec: Json, expected: Expected) -> str:
        records = asyncio.run(self._records(run["run_id"]))
        found = read_pipeline_outputs(Pipeline(spec, {}), records)
        outputs = {**found.parameters, **{name: [one.uri for one in all_] for name, all_ in found.artifacts.items()}}
        declared = cast("Json", spec.get("root", {}).get("outputDefinitions", {}))
        missing = [name for kind in ("parameters", "artifacts") for name in declared.get(kind, {})
                   if name not in outputs and name not in expected.without]  # fmt: skip
        if missing:
            return f"declared outputs {missing} cannot be read; there are {sorted(outputs)}"
        by_task: dict[str, Json] = {"root": outputs, **{record.name: record.parameters for record in records}}
        for task, values in expected.outputs.items():
            if any(str(by_task[task].get(name)) != value for name, value in values.items()):
                return f"outputs of {task} are {by_task[task]}, not {values}"
        return ""

    async def _records(self, run_id: str) -> list[TaskRecord]:
        """What ML Metadata holds of the run's tasks, read as a client of the 2.x servers does."""
        reader = MetadataReader("kfp", self._metadata, 30.0)
        try:
            return await reader.tasks(run_id) or []
        finally:
            await reader.close()
