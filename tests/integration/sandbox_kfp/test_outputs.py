"""What a run leaves behind, as a client of a 2.x server reads it."""

from __future__ import annotations

import os
import sys
import time

from google.protobuf.json_format import MessageToDict

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.support import Server
from tests.support.objects import BUCKET, ObjectServer
from workers.engines.kfp.proto import metadata_store_pb2 as pb


def outputs(execution: pb.Execution) -> dict[str, object]:
    return MessageToDict(execution.custom_properties["outputs"].struct_value)


def test_outputs_and_artifacts_of_a_run_are_read_over_ml_metadata(server: Server, objects: ObjectServer) -> None:
    uri = objects.put("outputs/data.txt", b"seven images")
    run_id = server.submit(pipelines.spec("train_and_evaluate"), {"dataset": uri})
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    executions = server.executions(run_id)
    assert set(executions) == {"", "importer", "train", "evaluate"}
    root, train = executions[""], executions["train"]
    assert root.type == "system.DAGExecution"
    assert root.name == f"run/{run_id}"
    assert executions["importer"].type == "system.ImporterExecution"
    assert train.type == "system.ContainerExecution"
    assert train.last_known_state == pb.Execution.COMPLETE
    assert train.custom_properties["parent_dag_id"].int_value == root.id
    assert train.custom_properties["image"].string_value == "python:3.11"
    assert MessageToDict(train.custom_properties["inputs"].struct_value) == {"rate": 0.5}
    assert outputs(train) == {"Output": 12}

    read = server.artifacts(train, pb.Event.INPUT)
    made = server.artifacts(train, pb.Event.OUTPUT)
    assert read["data"].uri == uri
    assert made["model"].type == "system.Model"
    assert made["model"].state == pb.Artifact.LIVE
    assert made["model"].uri.startswith(f"s3://{BUCKET}/v2/artifacts/train-and-evaluate/{run_id}/train/")
    assert made["model"].custom_properties["framework"].string_value == "none"
    assert made["model"].custom_properties["display_name"].string_value == "model"
    assert made["metrics"].custom_properties["accuracy"].double_value == 0.97
    assert objects.read(made["model"].uri) == b"seven images at 0.5"
    left = {path.name for path in (server.data_dir / "runs" / run_id).iterdir()}
    assert left == {"logs", "run.log"}  # no copy of an object stays
    # the component saw what it would see on a cluster
    assert outputs(executions["evaluate"]) == {"accuracy": 1, "uri": made["model"].uri}


def test_the_contexts_of_a_run_lead_to_its_pipeline_and_artifacts(server: Server, objects: ObjectServer) -> None:
    uri = objects.put("contexts/data.txt", b"x")
    run_id = server.submit(pipelines.spec("train_and_evaluate"), {"dataset": uri})
    details = server.wait(run_id)["run_details"]
    with server.metadata() as stub:
        context = stub.GetContextByTypeAndName(
            pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name=run_id)
        ).context
        parents = stub.GetParentContextsByContext(pb.GetParentContextsByContextRequest(context_id=context.id)).contexts
        artifacts = stub.GetArtifactsByContext(pb.GetArtifactsByContextRequest(context_id=context.id)).artifacts
        nobody = stub.GetContextByTypeAndName(
            pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name="nobody")
        )
        first = stub.GetExecutionsByContext(
            pb.GetExecutionsByContextRequest(context_id=context.id, options=pb.ListOperationOptions(max_result_size=3))
        )
        second = stub.GetExecutionsByContext(
            pb.GetExecutionsByContextRequest(
                context_id=context.id,
                options=pb.ListOperationOptions(max_result_size=3, next_page_token=first.next_page_token),
            )
        )
    assert details["pipeline_run_context_id"] == str(context.id)
    assert [(parent.type, parent.name) for parent in parents] == [("system.Pipeline", "train-and-evaluate")]
    assert {artifact.type for artifact in artifacts} == {"system.Dataset", "system.Model", "system.Metrics"}
    assert not nobody.HasField("context")
    assert (len(first.executions), len(second.executions), second.next_page_token) == (3, 1, "")


def test_a_second_run_of_the_same_inputs_is_served_from_the_cache(server: Server, objects: ObjectServer) -> None:
    uri = objects.put("cache/data.txt", b"cached images")
    spec = pipelines.spec("train_and_evaluate")
    first = server.submit(spec, {"dataset": uri, "rate": 0.25})
    server.wait(first)
    second = server.submit(spec, {"dataset": uri, "rate": 0.25})
    run = server.wait(second)
    assert run["state"] == "SUCCEEDED"
    before, after = server.executions(first)["train"], server.executions(second)["train"]
    assert after.last_known_state == pb.Execution.CACHED
    assert after.custom_properties["cached_execution_id"].string_value == str(before.id)
    fingerprint = after.custom_properties["cache_fingerprint"].string_value
    assert fingerprint and fingerprint == before.custom_properties["cache_fingerprint"].string_value
    assert outputs(after) == outputs(before)
    assert server.artifacts(after, pb.Event.OUTPUT) == server.artifacts(before, pb.Event.OUTPUT)
    # the task succeeded; its executor, which had nothing to do, was skipped
    nodes = [(node["display_name"], node["state"]) for node in run["run_details"]["task_details"]]
    assert nodes[nodes.index(("train", "SUCCEEDED")) + 1] == ("executor", "SKIPPED")
    assert "SKIPPED" not in {node["state"] for node in server.get(first)["run_details"]["task_details"]}

    third = server.submit(spec, {"dataset": uri, "rate": 0.75})
    server.wait(third)
    assert server.executions(third)["train"].last_known_state == pb.Execution.COMPLETE


def test_a_folder_is_stored_as_objects_and_staged_again(server: Server, objects: ObjectServer) -> None:
    spec = pipelines.spec("folders")
    spec["root"]["dag"]["tasks"]["read-folder"]["cachingOptions"] = {}
    for text in ("first", "first"):  # the second run has the folder from the cache, so it must come from S3
        run_id = server.submit(spec, {"text": text})
        assert server.wait(run_id)["state"] == "SUCCEEDED"
    executions = server.executions(run_id)
    assert executions["make-folder"].last_known_state == pb.Execution.CACHED
    assert executions["read-folder"].last_known_state == pb.Execution.COMPLETE
    assert outputs(executions["read-folder"]) == {"Output": "first deep/b.txt"}
    folder = server.artifacts(executions["make-folder"], pb.Event.OUTPUT)["folder"]
    assert objects.read(f"{folder.uri}/a.txt") == b"first a.txt"


def test_an_output_that_was_written_to_a_path_of_its_own_is_stored_too(server: Server, objects: ObjectServer) -> None:
    run_id = server.submit(pipelines.spec("custom_paths"))
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    executions = server.executions(run_id)
    data = server.artifacts(executions["write-elsewhere"], pb.Event.OUTPUT)["data"]
    assert objects.read(data.uri) == b"from elsewhere"
    assert outputs(executions["read-file"]) == {"Output": "from elsewhere"}


def test_an_importer_of_a_missing_object_fails_the_run_with_its_uri(server: Server) -> None:
    uri = f"s3://{BUCKET}/nowhere/data.txt"
    run = server.wait(server.submit(pipelines.spec("train_and_evaluate"), {"dataset": uri}))
    assert run["state"] == "FAILED"
    assert "train" in run["error"]["message"]
    assert f'failed to download input artifact "data" from remote storage URI "{uri}"' in run["error"]["message"]
    states = {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}
    assert states["importer"] == "SUCCEEDED"  # it only writes the URI down, as on a cluster
    assert states["train"] == "FAILED"
    assert states["evaluate"] == "RUNTIME_STATE_UNSPECIFIED"  # Argo: Omitted


def test_a_run_has_a_clean_environment_and_a_folder_of_its_own(server: Server, objects: ObjectServer) -> None:
    run_id = server.submit(pipelines.spec("look_around"))
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    seen = MessageToDict(server.executions(run_id)["look"].custom_properties["outputs"].struct_value)["Output"]
    text = str(seen)
    assert objects.access_key not in text and objects.secret_key not in text
    assert not [name for name in seen["env"] if name.startswith("AWS_")]
    assert seen["prefix"] != sys.prefix
    assert "environments" in seen["prefix"]
    assert seen["cwd"] == str(server.data_dir / "runs" / run_id / "work" / "root.look")


def test_the_output_of_a_component_is_read_by_its_pods_name(server: Server) -> None:
    run_id = server.submit(pipelines.spec("talking"))
    server.wait(run_id)
    pod = server.executions(run_id)["talk"].custom_properties["pod_name"].string_value
    logs = f"{server.url}/apis/v1alpha1/runs/{run_id}/nodes"
    answer = server.http.request("GET", f"{logs}/{pod}/log")
    assert answer.status == 200
    assert b"a word\n" in answer.data
    assert server.http.request("GET", f"{logs}/nobody/log").status == 404


def test_outputs_larger_than_any_buffer_arrive_whole(server: Server) -> None:
    run_id = server.submit(pipelines.spec("talking"))
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    assert len(str(outputs(server.executions(run_id)["talk"])["Output"])) == 300_000


def test_an_output_that_cannot_be_stored_fails_its_task(server: Server, objects: ObjectServer) -> None:
    uri = objects.put("unstored/data.txt", b"x")
    body = {
        "display_name": "unstored", "pipeline_spec": pipelines.spec("train_and_evaluate"),
        "runtime_config": {"parameters": {"dataset": uri}, "pipeline_root": "s3://No_Such..Bucket/root"},
    }  # fmt: skip
    status, made = server.call("POST", "runs", body)
    assert status == 200
    run = server.wait(made["run_id"])
    assert run["state"] == "FAILED"
    assert 'failed to upload output artifact to remote storage URI "s3://No_Such..Bucket/' in run["error"]["message"]
    assert server.executions(made["run_id"])["train"].last_known_state == pb.Execution.FAILED


def test_tasks_are_shown_while_the_run_goes_on(server: Server, tmp_path: os.PathLike[str]) -> None:
    run_id = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    until = time.monotonic() + 30
    while not os.path.exists(f"{tmp_path}/hold.pids"):
        assert time.monotonic() < until
        time.sleep(0.05)
    run = server.get(run_id)
    states = {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}
    assert run["state"] == "RUNNING"
    assert states["hold"] == states["executor"] == states["root"] == "RUNNING"
    assert states["hold-driver"] == "SUCCEEDED"
    assert server.executions(run_id)["hold"].last_known_state == pb.Execution.RUNNING
    hold = next(node for node in run["run_details"]["task_details"] if node["display_name"] == "hold")
    assert hold["end_time"] == "1970-01-01T00:00:00Z"
    with open(f"{tmp_path}/go", "w"):
        pass
    assert server.wait(run_id)["state"] == "SUCCEEDED"
