"""The server as one of the 3.x API: tasks and artifacts over REST, and what our adapter reads there."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.engines.submissions import key, kfp_submission
from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.conftest import MakeServer
from tests.integration.sandbox_kfp.support import Json, Server
from tests.support.objects import BUCKET, ObjectServer
from workers.artifacts import ArtifactStore
from workers.engines.base import Submission
from workers.engines.kfp.engine import KfpEngine
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.settings import KfpSettings, StoreSettings
from workflows.outcome import Outcome
from workflows.values import JsonObject


@pytest.fixture(scope="module")
def server3(server_factory: MakeServer) -> Server:
    return server_factory("--api-version", "3")


@pytest.fixture(scope="module")
def trained(server3: Server, objects: ObjectServer) -> Json:
    """A run that has ended, with all its tasks."""
    uri = objects.put("three/data.txt", b"seven images")
    run_id = server3.submit(pipelines.spec("train_and_evaluate"), {"dataset": uri})
    assert server3.wait(run_id)["state"] == "SUCCEEDED"
    status, run = server3.call("GET", f"runs/{run_id}", view="FULL")
    assert status == 200
    return run


def one(server: Server, path: str, **query: str) -> Json:
    status, body = server.call("GET", path, **query)
    assert status == 200, body
    return body


def tasks(run: Json) -> dict[str, Json]:
    return {task["name"]: task for task in run["tasks"]}


def values(put: Json) -> dict[str, Any]:
    return {entry["parameter_key"]: entry["value"] for entry in put.get("parameters", [])}


def equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def test_a_run_has_its_tasks_on_demand_only(server3: Server, trained: Json) -> None:
    plain = one(server3, f"runs/{trained['run_id']}")
    assert "run_details" not in plain and "tasks" not in plain
    assert plain["task_count"] == len(trained["tasks"]) == 4
    listed = one(server3, "runs", view="FULL", filter=equals("run_id", trained["run_id"]))["runs"]
    assert listed == [trained]
    assert server3.call("GET", f"runs/{trained['run_id']}", view="SOME")[0] == 400


def test_tasks_carry_what_they_read_and_made(trained: Json, objects: ObjectServer) -> None:
    found = tasks(trained)
    assert {name: task["type"] for name, task in found.items()} == {
        "ROOT": "ROOT", "importer": "IMPORTER", "train": "RUNTIME", "evaluate": "RUNTIME",
    }  # fmt: skip
    root, train = found["ROOT"], found["train"]
    assert train["parent_task_id"] == root["task_id"] and "parent_task_id" not in root
    assert (root["scope_path"], train["scope_path"]) == ("root", "root.train")
    assert {child["name"] for child in root["child_tasks"]} == {"importer", "train", "evaluate"}
    assert [entry["state"] for entry in train["state_history"]] == ["RUNNING", "SUCCEEDED"]
    assert [pod["type"] for pod in train["pods"]] == ["DRIVER", "EXECUTOR"]
    assert train["cache_fingerprint"]
    assert values(train["inputs"]) == {"rate": 0.5}
    read = train["inputs"]["artifacts"][0]
    assert (read["artifact_key"], read["type"], read["producer"]) == (
        "data", "TASK_OUTPUT_INPUT", {"task_name": "importer"},
    )  # fmt: skip
    assert values(train["outputs"]) == {"Output": 12}
    made = {entry["artifact_key"]: entry["artifacts"] for entry in train["outputs"]["artifacts"]}
    model = made["model"][0]
    assert (model["type"], model["metadata"]) == ("Model", {"framework": "none"})
    assert objects.read(model["uri"]) == b"seven images at 0.5"
    accuracy = next(metric for metric in made["metrics"] if metric["name"] == "accuracy")
    assert (accuracy["type"], accuracy["number_value"]) == ("Metric", 0.97)
    assert "uri" not in accuracy


def test_tasks_are_listed_in_pages_by_parent_and_by_filter(server3: Server, trained: Json) -> None:
    path = f"runs/{trained['run_id']}/tasks"
    by_name = one(server3, path, order_by="name desc")
    assert [task["name"] for task in by_name["tasks"]] == ["train", "importer", "evaluate", "ROOT"]
    first = one(server3, path, page_size="3")
    rest = one(server3, path, page_size="3", page_token=first["next_page_token"])
    assert first["total_size"] == 4
    assert sorted(task["name"] for task in first["tasks"] + rest["tasks"]) == sorted(tasks(trained))
    root = tasks(trained)["ROOT"]["task_id"]
    assert {task["name"] for task in one(server3, path, parent_id=root)["tasks"]} == {"importer", "train", "evaluate"}
    assert [task["name"] for task in one(server3, path, filter=equals("name", "train"))["tasks"]] == ["train"]
    assert one(server3, f"{path}/{root}") == tasks(trained)["ROOT"]
    for wrong, status in (({"parent_id": "none"}, 404), ({"filter": equals("colour", "red")}, 400)):
        assert server3.call("GET", path, **wrong)[0] == status
    assert server3.call("GET", "runs/none/tasks")[0] == 404
    other = server3.submit(pipelines.spec("look_around"))
    status, body = server3.call("GET", f"runs/{other}/tasks/{root}")
    assert (status, "does not match" in body["message"]) == (400, True)
    server3.wait(other)


def test_artifacts_and_who_made_them_are_listed(server3: Server, trained: Json) -> None:
    model = tasks(trained)["train"]["outputs"]["artifacts"]
    uri = next(entry["artifacts"][0]["uri"] for entry in model if entry["artifact_key"] == "model")
    found = one(server3, "artifacts", filter=equals("uri", uri))["artifacts"]
    assert [artifact["name"] for artifact in found] == ["model"]
    number = found[0]["artifact_id"]
    assert one(server3, f"artifacts/{number}") == found[0]
    metrics = one(server3, "artifacts", sort_by="number_value desc", page_size="1", filter=_type(6))
    assert metrics["artifacts"][0]["type"] == "Metric"
    assert server3.call("GET", "artifacts/none")[0] == 404

    links = one(server3, "artifact_tasks", artifact_ids=number, sort_by="type")["artifact_tasks"]
    names = {task["task_id"]: name for name, task in tasks(trained).items()}
    assert [(link["type"], link["key"], names[link["task_id"]]) for link in links[:1]] == [
        ("TASK_OUTPUT_INPUT", "model", "evaluate")
    ]
    # the pipeline declares the model as an output of its own, so it has come up to the root
    assert {(link["type"], link["key"], names[link["task_id"]]) for link in links[1:]} == {
        ("OUTPUT", "model", "train"),
        ("OUTPUT", "model", "ROOT"),
    }
    assert {link["run_id"] for link in links} == {trained["run_id"]}
    made = one(server3, "artifact_tasks", run_ids=trained["run_id"], type="OUTPUT")
    assert {names[link["task_id"]] for link in made["artifact_tasks"]} == {"ROOT", "importer", "train"}
    status, body = server3.call("GET", "artifact_tasks")
    assert (status, "At least one filter" in body["message"]) == (400, True)


def _type(number: int) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "type", "int_value": number}]})


def test_a_loop_is_one_task_and_its_values_come_up_to_the_root(server3: Server) -> None:
    parameters = {"names": ["a", "b"], "loud": True}
    run_id = server3.submit(pipelines.spec("collecting"), parameters)
    assert server3.wait(run_id)["state"] == "SUCCEEDED"
    run = one(server3, f"runs/{run_id}", view="FULL")
    assert one(server3, f"runs/{run_id}")["task_count"] == len(run["tasks"])
    loop = next(task for task in run["tasks"] if task["type"] == "LOOP")
    assert (loop["display_name"], loop["type_attributes"]) == ("Loop", {"iteration_count": "2"})
    body = [task for task in run["tasks"] if task.get("parent_task_id") == loop["task_id"]]
    assert {task["type_attributes"]["iteration_index"] for task in body} == {"0", "1"}
    assert {task["name"] for task in body} == {"greet"}
    kinds = {task["name"]: (task["type"], task["state"]) for task in run["tasks"] if "condition" in task["name"]}
    assert kinds == {
        "condition-branches-2": ("DAG", "SUCCEEDED"), "condition-3": ("CONDITION_BRANCH", "SUCCEEDED"),
        "condition-4": ("CONDITION_BRANCH", "SKIPPED"),
    }  # fmt: skip
    root = next(task for task in run["tasks"] if task["type"] == "ROOT")
    brought = [(entry["parameter_key"], entry["type"], entry["value"]) for entry in root["outputs"]["parameters"]]
    assert brought == [
        ("chosen", "ONE_OF_OUTPUT", "hello HIGH"),
        ("greetings", "ITERATOR_OUTPUT", "hello a"),
        ("greetings", "ITERATOR_OUTPUT", "hello b"),
    ]


def test_a_cache_hit_and_a_failure_are_marked(server3: Server, objects: ObjectServer, tmp_path: Path) -> None:
    uri = objects.put("three/cached.txt", b"cached images")
    run_id = ""
    for _ in range(2):
        run_id = server3.submit(pipelines.spec("train_and_evaluate"), {"dataset": uri})
        assert server3.wait(run_id)["state"] == "SUCCEEDED"
    train = tasks(one(server3, f"runs/{run_id}", view="FULL"))["train"]
    assert train["state"] == "CACHED"
    assert [pod["type"] for pod in train["pods"]] == ["DRIVER"]
    assert values(train["outputs"]) == {"Output": 13}

    run_id = server3.submit(pipelines.spec("needing"), {"folder": str(tmp_path)})
    assert server3.wait(run_id)["state"] == "FAILED"
    failed = tasks(one(server3, f"runs/{run_id}", view="FULL"))["need"]
    assert failed["state"] == "FAILED"
    assert "not repaired" in failed["status_metadata"]["message"]


def test_a_server_of_2x_has_none_of_these_paths_and_one_of_3x_no_ml_metadata(server: Server, server3: Server) -> None:
    for path in ("artifacts", "artifact_tasks", "artifacts/x", "runs/x/tasks"):
        assert server.call("GET", path)[0] == 404
    with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"), server3.metadata() as stub:
        stub.GetContextTypes(pb.GetContextTypesRequest(), timeout=5)


# -- our adapter, unaware that it is a sandbox


async def outcome_of(server: Server, objects: ObjectServer, submission: Submission) -> Outcome:
    store = StoreSettings.model_validate(
        {"endpoint": objects.endpoint, "access_key": objects.access_key, "secret_key": objects.secret_key}
    )
    metadata = {"metadata_address": f"127.0.0.1:{server.metadata_port}"} if "3" not in server.command else {}
    settings = KfpSettings.model_validate({"url": server.url, "settle_delay": 0.1, "poll": 0.1, **metadata})
    engine = KfpEngine("kfp", settings, ArtifactStore(store))
    try:
        ref = await engine.submit(submission)
        return await asyncio.wait_for(engine.wait(ref, lambda: None), 60)
    finally:
        await engine.close()


@pytest.mark.parametrize("names", [["a", "b"], ["only"]])
async def test_the_adapter_reads_the_same_from_both_versions(
    server: Server, server3: Server, objects: ObjectServer, names: list[str], tmp_path: Path
) -> None:
    package = pipelines.package("collecting", tmp_path).read_text(encoding="utf-8")
    for one_server in (server, server3):
        parameters: JsonObject = {"names": [*names], "loud": False}
        submission = kfp_submission(package, run_key=key(f"s{uuid.uuid4().hex[:6]}"), parameters=parameters)
        outcome = await outcome_of(one_server, objects, submission)
        assert outcome.succeeded, outcome
        assert outcome.outputs == {"greetings": [f"hello {name}" for name in names], "chosen": "hello low"}


async def test_the_adapter_reads_artifacts_and_nodes_of_3x(
    server3: Server, objects: ObjectServer, tmp_path: Path
) -> None:
    uri = objects.put("three/adapter.txt", b"adapted images")
    package = pipelines.package("train_and_evaluate", tmp_path).read_text(encoding="utf-8")
    outcome = await outcome_of(
        server3, objects, kfp_submission(package, run_key=key("adapted"), parameters={"dataset": uri})
    )
    assert outcome.succeeded, outcome
    phases = {node.name: node.phase for node in outcome.nodes}
    assert phases == dict.fromkeys(("root", "importer", "train", "evaluate"), "SUCCEEDED")
    assert all(artifact.uri.startswith(f"s3://{BUCKET}/") for artifact in outcome.artifacts.values())
