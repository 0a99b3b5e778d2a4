"""A sandbox Kubeflow Pipelines server as a process, and what tests ask it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import urllib3

from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc

TERMINAL = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
Json = dict[str, Any]


def wait_until(question: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true answer, or a failure that says what did not happen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"after {seconds} s there is still not: {what}")


def stop(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(sign)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Server:
    """A running server, and the clients that a test needs."""

    data_dir: Path
    command: list[str]
    env: dict[str, str]
    port: int
    metadata_port: int
    process: subprocess.Popen[bytes] | None = None
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=20))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.data_dir.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.env, stdout=log, stderr=log)
        wait_until(self._ready, "a health check that answers", 40)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.data_dir.parent / "server.log").read_text()
        try:
            return self.http.request("GET", f"{self.url}/apis/v2beta1/healthz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        stop(self.process, signal.SIGKILL)

    def stop(self) -> int:
        assert self.process is not None
        stop(self.process)
        self.http.clear()
        return self.process.returncode

    def call(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Json]:
        answer = self.http.request(
            method, f"{self.url}/apis/v2beta1/{path}", json=body, fields=query or None
        ) if body is None else self.http.request(method, f"{self.url}/apis/v2beta1/{path}", json=body)  # fmt: skip
        return answer.status, cast("Json", answer.json())

    def get(self, run_id: str) -> Json:
        status, run = self.call("GET", f"runs/{run_id}")
        assert status == 200, run
        return run

    def submit(self, spec: Json, parameters: Json | None = None, name: str = "a run") -> str:
        config = {"runtime_config": {"parameters": parameters}} if parameters else {}
        status, run = self.call("POST", "runs", {"display_name": name, "pipeline_spec": spec, **config})
        assert status == 200, run
        assert run["state"] == "PENDING"
        return str(run["run_id"])

    def wait(self, run_id: str, seconds: float = 60.0) -> Json:
        """The run, once it has ended."""
        wait_until(lambda: self.get(run_id)["state"] in TERMINAL, f"an end of run {run_id}", seconds)
        return self.get(run_id)

    @contextlib.contextmanager
    def metadata(self) -> Generator[pb_grpc.MetadataStoreServiceStub]:
        with grpc.insecure_channel(f"127.0.0.1:{self.metadata_port}") as channel:
            yield pb_grpc.MetadataStoreServiceStub(channel)

    def executions(self, run_id: str) -> dict[str, pb.Execution]:
        """The executions of a run by their task's name, as a client reads them; the root one is ''."""
        with self.metadata() as stub:
            context = stub.GetContextByTypeAndName(
                pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name=run_id)
            ).context
            answer = stub.GetExecutionsByContext(pb.GetExecutionsByContextRequest(context_id=context.id))
        return {one.custom_properties["task_name"].string_value: one for one in answer.executions}

    def artifacts(self, execution: pb.Execution, kind: pb.Event.Type.ValueType) -> dict[str, pb.Artifact]:
        """The artifacts that an execution read or made, by name."""
        with self.metadata() as stub:
            events = stub.GetEventsByExecutionIDs(
                pb.GetEventsByExecutionIDsRequest(execution_ids=[execution.id])
            ).events
            names = {event.artifact_id: event.path.steps[0].key for event in events if event.type == kind}
            found = stub.GetArtifactsByID(pb.GetArtifactsByIDRequest(artifact_ids=list(names))).artifacts
        return {names[artifact.id]: artifact for artifact in found}
