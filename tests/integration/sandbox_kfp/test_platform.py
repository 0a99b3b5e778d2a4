"""Kubernetes settings: what a component gets of them, what is noted on the run, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.conftest import MakeServer
from tests.integration.sandbox_kfp.support import Json, Server
from tests.integration.sandbox_kfp.test_control import gone, held
from workers.engines.kfp.proto import metadata_store_pb2 as pb

OBJECTS = """
{apiVersion: v1, kind: Secret, metadata: {name: login}, stringData: {password: open sesame}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {level: high, other: "1"}}
"""


def constant(name: str) -> Json:
    return {"runtimeValue": {"constant": name}}


def inspecting(**settings: object) -> Json:
    return with_settings("inspecting", {"exec-inspect": settings})


def with_settings(name: str, executors: Json) -> Json:
    return {
        "pipeline_spec": pipelines.spec(name),
        "platform_spec": {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}},
    }


def outputs(execution: pb.Execution) -> Json:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(execution.custom_properties["outputs"].struct_value)


@pytest.fixture(scope="module")
def given(server_factory: MakeServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that was given a Secret and a ConfigMap, and takes small artifacts only."""
    file = tmp_path_factory.mktemp("objects") / "objects.yaml"
    file.write_text(OBJECTS, encoding="utf-8")
    return server_factory("--objects", str(file), "--artifact-limit", "1048576")


def test_secrets_config_maps_and_pod_fields_reach_a_component_and_the_rest_is_noted_on_the_run(given: Server) -> None:
    document = inspecting(
        secretAsEnv=[
            {
                "secretNameParameter": {"componentInputParameter": "secret"},
                "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}],
            }
        ],
        secretAsVolume=[{"secretNameParameter": constant("login"), "mountPath": "/secrets/here"}],
        configMapAsEnv=[{"configMapName": "settings", "keyToEnv": [{"configMapKey": "level", "envVar": "LEVEL"}]}],
        configMapAsVolume=[{"configMapNameParameter": constant("settings"), "mountPath": "/config"}],
        fieldPathAsEnv=[
            {"name": "POD", "fieldPath": "metadata.name"},
            {"name": "TEAM", "fieldPath": "metadata.labels['team']"},
        ],
        podMetadata={"labels": {"team": "ml"}},
        nodeSelector={"labels": {"disk": "fast"}},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
    )
    run_id = given.submit(document)
    run = given.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    execution = given.executions(run_id)["inspect"]
    seen = outputs(execution)["Output"]
    assert seen["files"] == {"here/password": "open sesame", "config/level": "high", "config/other": "1"}
    pod = execution.custom_properties["pod_name"].string_value
    assert seen["env"] == {"PASSWORD": "open sesame", "LEVEL": "high", "POD": pod, "TEAM": "ml"}
    noted = run["state_history"][0]
    assert noted["state"] == "PENDING"
    assert noted["error"] == {
        "message": "not enforced by the sandbox: exec-inspect: resources.accelerator, nodeSelector, tolerations"
    }


def test_a_secret_that_only_the_run_names_and_nobody_gave_fails_the_task(given: Server) -> None:
    document = inspecting(
        secretAsVolume=[
            {"secretNameParameter": {"componentInputParameter": "secret"}, "mountPath": "/secrets/here"},
        ]
    )
    run = given.wait(given.submit(document, {"secret": "nobodys"}))
    assert run["state"] == "FAILED"
    assert 'secret "nobodys" not found' in run["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"secretAsVolume": [{"secretName": "nobodys", "mountPath": "/x"}]}, 'secret "nobodys" not found'),
        (
            {"secretAsEnv": [{"secretName": "login", "keyToEnv": [{"secretKey": "user", "envVar": "USER"}]}]},
            "couldn't find key user in Secret login",
        ),
        ({"initContainers": [{"name": "first"}]}, "exec-inspect.initContainers is not supported"),
        ({"colour": "red"}, "exec-inspect.colour is not supported"),
        ({"pvcMount": [{"constant": "x", "mountPath": "/../etc"}]}, "pvcMount[0].mountPath is not supported"),
        ({"pvcMount": [{"constant": "x", "mountPath": "/x", "subPath": "../y"}]}, "pvcMount[0].subPath"),
        ({"fieldPathAsEnv": [{"name": "X", "fieldPath": "status.phase"}]}, "fieldPathAsEnv[0].fieldPath"),
    ],
)
def test_a_setting_that_a_component_cannot_do_without_is_refused_by_name(
    given: Server, settings: Json, said: str
) -> None:
    body = {"display_name": "refused", "pipeline_spec": inspecting(**settings)}
    status, answer = given.call("POST", "runs", body)
    assert (status, answer["code"]) == (400, 3), answer
    assert said in answer["message"]


def test_a_claim_is_a_folder_that_tasks_share_and_that_is_deleted(given: Server) -> None:
    mount = {"pvcNameParameter": {"taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"}}}
    mounted = {"pvcMount": [{**mount, "mountPath": "/data"}]}
    run_id = given.submit(with_settings("volumes", {"exec-put": mounted, "exec-take": mounted}))
    run = given.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    executions = given.executions(run_id)
    assert outputs(executions["take"]) == {"Output": "in the volume"}
    assert "exec-createpvc: size, access modes" in run["state_history"][0]["error"]["message"]
    name = str(outputs(executions["createpvc"])["name"])
    assert name.endswith("-shared")
    assert not (given.data_dir / "volumes" / name).exists()


def test_a_component_that_takes_more_memory_than_its_limit_is_killed(server: Server) -> None:
    run = server.wait(server.submit(pipelines.spec("swelling")))
    assert run["state"] == "FAILED"
    assert "OOMKilled (exit code 137)" in run["error"]["message"]


def test_a_component_ends_at_its_deadline_and_so_does_what_it_started(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(
        with_settings("late", {"exec-hold": {"activeDeadlineSeconds": "4"}}), {"folder": str(tmp_path)}
    )
    pids = held(tmp_path)
    run = server.wait(run_id)
    assert "longer than the specified deadline" in run["error"]["message"]
    gone(pids)


def test_tasks_of_a_run_share_its_workspace(server: Server) -> None:
    run_id = server.submit(pipelines.spec("workspaces"))
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    assert outputs(server.executions(run_id)["find-note"]) == {"Output": "left"}
    assert "workspace.size" in run["state_history"][0]["error"]["message"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("large_outputs", "the output parameters have 1100014 bytes, and the sandbox takes 1048576"),
        ("large_artifacts", "the output artifacts have 2097152 bytes, and the sandbox takes 1048576"),
    ],
)
def test_outputs_that_are_too_large_fail_the_task(given: Server, name: str, said: str) -> None:
    run = given.wait(given.submit(pipelines.spec(name)))
    assert run["state"] == "FAILED"
    assert said in run["error"]["message"]
