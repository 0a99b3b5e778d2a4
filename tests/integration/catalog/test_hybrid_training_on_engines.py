"""The chain's own files on both sandbox engines, driven over their APIs by hand; artifacts cross as S3 objects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import obstore
import pytest
import urllib3
import yaml
from obstore.store import S3Store

from meta.stack import EmbeddedStack, StackOptions
from tests.integration.catalog.conftest import CHAIN, ENVIRONMENTS
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc

Json = dict[str, Any]
HTTP = urllib3.PoolManager(timeout=30)


def call(url: str, body: Json | None = None) -> Json:
    answer = HTTP.request("POST" if body else "GET", url, json=body)
    assert answer.status == 200, answer.data.decode()
    return cast("Json", answer.json())


def ended(question: Callable[[], tuple[str, Json]], seconds: float = 90) -> tuple[str, Json]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state, document = question()
        if state in {"Succeeded", "Failed", "Error", "SUCCEEDED", "FAILED", "CANCELED"}:
            return state, document
        time.sleep(0.1)
    raise AssertionError(f"still not ended after {seconds} s")


class Engines:
    """Both engines and their store."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._argo, self._kfp = stack.addresses.argo, stack.addresses.kfp
        self._metadata = stack.addresses.kfp_metadata
        self.bucket = stack.bucket
        self.store = S3Store(
            stack.bucket,
            endpoint=stack.addresses.s3,
            access_key_id=stack.credentials.access_key,
            secret_access_key=stack.credentials.secret_key,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def argo(self, file: str, name: str, parameters: dict[str, str], artifacts: dict[str, str]) -> tuple[str, Json]:
        """Run a manifest; returns its phase and the root node's outputs: values, and keys of objects."""
        manifest = cast("Json", yaml.safe_load((CHAIN / file).read_text()))
        manifest["metadata"] = {"name": name}
        arguments = cast("dict[str, list[Json]]", manifest["spec"]["arguments"])
        for parameter in arguments["parameters"]:
            parameter["value"] = parameters.get(str(parameter["name"]), parameter["value"])
        for artifact in arguments.get("artifacts", []):
            artifact["s3"] = {"key": artifacts[str(artifact["name"])].removeprefix(f"s3://{self.bucket}/")}
        call(f"{self._argo}/api/v1/workflows/argo", {"workflow": manifest})

        def phase() -> tuple[str, Json]:
            status = cast("Json", call(f"{self._argo}/api/v1/workflows/argo/{name}")["status"])
            return str(status.get("phase", "")), status

        state, status = ended(phase)
        outputs = cast("dict[str, list[Json]]", status["nodes"][name].get("outputs", {}))
        values = {str(entry["name"]): entry["value"] for entry in outputs.get("parameters", [])}
        keys = {str(entry["name"]): entry["s3"]["key"] for entry in outputs.get("artifacts", [])}
        return state, {**values, **keys}

    def kfp(self, file: str, name: str, parameters: Json) -> tuple[str, Json]:
        """Run a pipeline; returns the state in ML Metadata of its component, and its outputs: values and URIs."""
        spec = cast("Json", yaml.safe_load((CHAIN / file).read_text()))
        body = {"display_name": name, "pipeline_spec": spec, "runtime_config": {"parameters": parameters}}
        run = str(call(f"{self._kfp}/apis/v2beta1/runs", body)["run_id"])

        def state() -> tuple[str, Json]:
            answer = call(f"{self._kfp}/apis/v2beta1/runs/{run}")
            return str(answer["state"]), answer

        final, answer = ended(state)
        assert final == "SUCCEEDED", answer.get("error")
        with grpc.insecure_channel(self._metadata) as channel:
            metadata = pb_grpc.MetadataStoreServiceStub(channel)
            wanted = pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name=run)
            context = metadata.GetContextByTypeAndName(wanted).context
            executions = metadata.GetExecutionsByContext(pb.GetExecutionsByContextRequest(context_id=context.id))
            (component,) = (
                execution
                for execution in executions.executions
                if execution.custom_properties["task_name"].string_value in {"train", "evaluate"}
            )
            events = metadata.GetEventsByExecutionIDs(pb.GetEventsByExecutionIDsRequest(execution_ids=[component.id]))
            names = {e.artifact_id: e.path.steps[0].key for e in events.events if e.type == pb.Event.OUTPUT}
            found = metadata.GetArtifactsByID(pb.GetArtifactsByIDRequest(artifact_ids=list(names)))
        uris: Json = {names[artifact.id]: artifact.uri for artifact in found.artifacts}
        values = component.custom_properties["outputs"].struct_value.fields
        return pb.Execution.State.Name(component.last_known_state), {
            **uris,
            **{key: value.number_value for key, value in values.items()},
        }

    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key.removeprefix(f"s3://{self.bucket}/")).bytes())


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncGenerator[Engines]:
    options = StackOptions(data_dir=tmp_path, parts=["argo", "kfp"], environments=ENVIRONMENTS)
    async with EmbeddedStack(options) as stack:
        yield Engines(stack)


async def test_the_chain_runs_on_both_engines_and_a_second_time_from_kfps_cache(engines: Engines) -> None:
    await asyncio.to_thread(_chain_twice, engines)  # the stack lives in this event loop


def _chain_twice(engines: Engines) -> None:
    first = _chain(engines, 1, "COMPLETE")
    second = _chain(engines, 2, "CACHED")
    assert first == second

    before = engines.read("registry/digits/current.json")
    state, _ = engines.argo("deploy.yaml", "deploy-refused", {"min-accuracy": "1.01"}, second)
    assert state == "Failed"
    assert engines.read("registry/digits/current.json") == before


def _chain(engines: Engines, number: int, component_state: str) -> dict[str, str]:
    """One pass; returns the URIs of data set and model."""
    state, prepared = engines.argo("prepare.yaml", f"prepare-{number}", {}, {})
    assert state == "Succeeded"
    assert (prepared["train-rows"], prepared["held-out-rows"]) == ("1347", "450")
    dataset = f"s3://{engines.bucket}/{prepared['dataset']}"

    state, trained = engines.kfp("train.yaml", f"train-{number}", {"dataset_uri": dataset, "epochs": 5})
    assert state == component_state
    model = str(trained["model"])
    state, evaluated = engines.kfp("evaluate.yaml", f"evaluate-{number}", {"dataset_uri": dataset, "model_uri": model})
    assert state == component_state
    assert evaluated["Output"] > 0.9
    assert sum(map(sum, json.loads(engines.read(evaluated["confusion_matrix"]))["matrix"])) == 450

    uris = {"model": model, "dataset": dataset}
    state, deployed = engines.argo("deploy.yaml", f"deploy-{number}", {}, uris)
    assert state == "Succeeded"
    assert float(deployed["accuracy"]) == evaluated["Output"]
    assert deployed["model"] == f"registry/digits/{deployed['version']}/model.joblib"
    assert engines.read(deployed["model"]) == engines.read(model)
    pointer = json.loads(engines.read("registry/digits/current.json"))
    assert (pointer["version"], pointer["promoted_by"]) == (deployed["version"], f"deploy-{number}")
    return uris
