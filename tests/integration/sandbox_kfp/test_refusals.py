"""What the server does not take, it refuses by name, in the real server's form."""

from __future__ import annotations

import copy
import http.client
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.support import Json, Server


def run(spec: Json, **fields: Any) -> Json:
    return {"display_name": "refused", "pipeline_spec": spec, **fields}


def changed(change: Callable[[Json], object], name: str = "train_and_evaluate") -> Json:
    spec = copy.deepcopy(pipelines.spec(name))
    change(spec)
    return spec


def train(spec: Json) -> Json:
    return spec["deploymentSpec"]["executors"]["exec-train"]["container"]


GOOD = {"runtime_config": {"parameters": {"dataset": "s3://mlpipeline/x"}}}

BODIES: dict[str, tuple[Callable[[], Json], str]] = {
    "an unknown field": (lambda: run(changed(lambda s: None), colour="red", **GOOD), 'unknown field "colour"'),
    "a field of the wrong type": (lambda: run(changed(lambda s: None), service_account=3), "service_account"),
    "a missing parameter": (lambda: run(changed(lambda s: None)), "parameter dataset is not optional"),
    "an unknown parameter": (
        lambda: run(changed(lambda s: None), runtime_config={"parameters": {"dataset": "s3://b/k", "rat": 1}}),
        "parameter(s) provided are not required by pipeline: rat",
    ),
    "a parameter of the wrong type": (
        lambda: run(changed(lambda s: None), runtime_config={"parameters": {"dataset": "s3://b/k", "rate": "fast"}}),
        "input parameter rate requires type double or integer",
    ),
    "a pipeline root elsewhere": (
        lambda: run(
            changed(lambda s: None),
            runtime_config={"pipeline_root": "gs://bucket/x", "parameters": {"dataset": "s3://b/k"}},
        ),
        "runtime_config.pipeline_root is not supported",
    ),
    "a container whose program is not here": (
        lambda: run(changed(lambda s: None, "missing_program")),
        "deploymentSpec.executors.exec-missing.container.command is not supported",
    ),
    "a container that installs packages": (
        lambda: run(changed(lambda s: None, "installs")),
        "deploymentSpec.executors.exec-installing.container.command is not supported",
    ),
    "an image whose entrypoint nobody knows": (
        lambda: run(changed(lambda s: None, "entrypoints")),
        "deploymentSpec.executors.exec-entrypoint.container.image is not supported",
    ),
    "a placeholder of Google Cloud": (
        lambda: run(
            changed(
                lambda s: s["deploymentSpec"]["executors"]["exec-count-container"]["container"].update(
                    args=["{{$.pipeline_google_cloud_project_id}}"]
                ),
                "needing_container",
            ),
            runtime_config={"parameters": {"folder": "/x"}},
        ),
        "the placeholder {{$.pipeline_google_cloud_project_id}} stands for nothing here",
    ),
    "an import from elsewhere": (
        lambda: run(changed(lambda s: None, "imports_elsewhere")),
        '"gs://bucket/x" is elsewhere',
    ),
    "an import from elsewhere, by a parameter": (
        lambda: run(changed(lambda s: None, "imports_a_parameter")),
        '"https://example.org/x" is elsewhere',
    ),
    "an image that nobody knows": (
        lambda: run(changed(lambda s: train(s).update(image="example/unknown:1")), **GOOD),
        "deploymentSpec.executors.exec-train.container.image is not supported",
    ),
    "a recurring run": (lambda: run(changed(lambda s: None), recurring_run_id="x", **GOOD), "recurring_run_id"),
}


# what the real server calls an internal error, though it is the client's
BROKEN: dict[str, tuple[Callable[[], Json], str]] = {
    "an unknown field of the IR": (lambda: run(changed(lambda s: s.update(colour="red")), **GOOD), "colour"),
    "another schema version": (
        lambda: run(changed(lambda s: s.update(schemaVersion="2.0.0")), **GOOD),
        "KFP only supports schema version 2.1.0",
    ),
    "a name with capitals": (
        lambda: run(changed(lambda s: s["pipelineInfo"].update(name="Train")), **GOOD),
        "name should consist of lower case",
    ),
    "no pipeline": (lambda: {"display_name": "refused"}, "with an empty pipeline spec manifest"),
    "a version that does not exist": (
        lambda: {"display_name": "refused", "pipeline_version_reference": {"pipeline_version_id": "none"}},
        "PipelineVersion none not found",
    ),
    "a pipeline that does not exist": (
        lambda: {"display_name": "refused", "pipeline_version_reference": {"pipeline_id": "none"}},
        "Failed to get the latest pipeline version as pipeline was not found",
    ),
    "a run without a name": (lambda: run(changed(lambda s: None), display_name=""), "Run name cannot be empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_pipeline_that_is_none_is_an_internal_error_as_on_the_real_server(server: Server, case: str) -> None:
    make, said = BROKEN[case]
    status, body = server.call("POST", "runs", make())
    assert (status, body["code"]) == (500, 13), body
    assert said in body["message"], body
    assert body["details"][0]["message"] == "Internal Server Error"


@pytest.mark.parametrize("case", BODIES)
def test_a_run_that_it_cannot_run_is_refused_with_the_field(server: Server, case: str) -> None:
    make, said = BODIES[case]
    status, body = server.call("POST", "runs", make())
    assert (status, body["code"]) == (400, 3), body
    assert said in body["message"], body
    assert set(body) == {"code", "message", "details"}
    runs = server.call(
        "GET", "runs", filter='{"predicates":[{"operation":"EQUALS","key":"display_name","string_value":"refused"}]}'
    )
    assert runs == (200, {})


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"filter": "{"}, "failed to parse valid filter"),
        ({"filter": '{"predicate": []}'}, 'unknown field "predicate"'),
        (
            {"filter": '{"predicates":[{"operation":"EQUALS","key":"colour","string_value":"red"}]}'},
            'no support for filtering on unrecognized field "colour"',
        ),
        (
            {"filter": '{"predicates":[{"operation":"LIKE","key":"state","string_value":"red"}]}'},
            'invalid value for enum field operation: "LIKE"',
        ),
        ({"sort_by": "colour desc"}, 'Invalid sorting field: "colour"'),
        ({"sort_by": "created_at sideways"}, "Received invalid sort by format"),
        ({"page_token": "x"}, "Invalid page token"),
        ({"page_size": "-1"}, "The page size should be greater than 0"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(server: Server, query: dict[str, str], said: str) -> None:
    status, body = server.call("GET", "runs", **query)
    assert (status, body["code"]) == (400, 3)
    assert said in body["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "runs/nobody"),
        ("POST", "runs/nobody:terminate"),
        ("POST", "runs/nobody:retry"),
        ("DELETE", "runs/nobody"),
        ("GET", "experiments/nobody"),
        ("GET", "pipelines/nobody"),
        ("GET", "pipelines/nobody/versions/none"),
        ("GET", "nothing"),
    ],
)
def test_what_is_not_there_is_not_found(server: Server, method: str, path: str) -> None:
    status, body = server.call(method, path)
    assert (status, body["code"]) == (404, 5)


@pytest.mark.parametrize(
    ("path", "said"), [("runs", "the body has 99999999999 bytes"), ("pipelines/upload", "File size too large")]
)
def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server, path: str, said: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = f"POST /apis/v2beta1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        connection.sendall(head.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        text = answer.read().decode()
    assert (answer.status, said in text) == (400, True), text


@pytest.mark.parametrize("run_id", ["../../etc", "x/y", "0E54BD40-4D0C-4F2C-9F39-9A1D1F0D1C55", "a" * 300])
def test_a_run_id_that_could_lead_out_of_its_folder_is_refused(server: Server, run_id: str) -> None:
    status, body = server.call("POST", "runs", run(pipelines.spec("look_around"), run_id=run_id))
    assert (status, body["code"]) == (400, 3)
    assert "run_id is not supported by the sandbox" in body["message"]


def test_a_run_id_of_the_client_is_taken_once(server: Server) -> None:
    run_id = "0e54bd40-4d0c-4f2c-9f39-9a1d1f0d1c55"
    body = run(pipelines.spec("look_around"), run_id=run_id)
    status, made = server.call("POST", "runs", body)
    assert (status, made["run_id"]) == (200, run_id)
    status, again = server.call("POST", "runs", body)
    assert (status, again["code"]) == (500, 13)  # the real server fails on insert
    assert server.wait(run_id)["state"] == "SUCCEEDED"


def test_an_experiment_of_a_name_that_is_taken_is_a_conflict(server: Server) -> None:
    assert server.call("POST", "experiments", {"display_name": "only once"})[0] == 200
    status, body = server.call("POST", "experiments", {"display_name": "only once"})
    assert (status, body["code"]) == (409, 6)


def test_calls_that_write_metadata_are_unimplemented(server: Server) -> None:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.metadata_port}") as channel:
        path = "/ml_metadata.MetadataStoreService/PutExecution"
        put: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            put(b"", timeout=5)
    assert "UNIMPLEMENTED" in str(caught.value)
