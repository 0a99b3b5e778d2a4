"""The REST API: verbs, lists, watches, logs, errors, as clients of the real server use them."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator
from typing import Protocol, cast

import argo_workflows
import pytest
import urllib3
from argo_workflows.api import workflow_service_api
from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_create_request import (
    IoArgoprojWorkflowV1alpha1WorkflowCreateRequest as CreateRequest,
)
from hera.workflows import Container, Steps, Workflow, WorkflowsService
from pydantic import JsonValue, SecretStr

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import (
    NAMESPACE,
    Argo,
    alive,
    nodes_of,
    serve,
    shell,
    until,
    workflow,
)

SLEEPER = shell("main", "echo $$; sleep 300")


def pid_of(argo: Argo, name: str) -> int:
    argo.until(name, lambda status: status.get("phase") == "Running")
    until(lambda: bool(argo.logs(name, podName=name)))
    return int(argo.logs(name, podName=name)[0])


def test_a_name_is_taken_once(argo: Argo) -> None:
    argo.create(workflow("twice", "main", shell("main", "true")))
    status, body = argo.call(
        "POST", f"/workflows/{NAMESPACE}", {"workflow": workflow("twice", "main", shell("main", "true"))}
    )
    assert (status, body) == (409, {"code": 6, "message": 'workflows.argoproj.io "twice" already exists'})


def test_what_does_not_exist_is_not_found(argo: Argo) -> None:
    answer = (404, {"code": 5, "message": 'workflows.argoproj.io "nobody" not found'})
    assert argo.call("GET", f"/workflows/{NAMESPACE}/nobody") == answer
    assert argo.call("DELETE", f"/workflows/{NAMESPACE}/nobody") == answer
    assert argo.put("nobody", "terminate") == answer


def test_another_namespace_is_forbidden_and_other_resources_are_unimplemented(argo: Argo) -> None:
    status, body = argo.call("GET", "/workflows/elsewhere")
    assert (status, body["code"]) == (403, 7)
    status, body = argo.call("GET", "/workflow-templates/argo/any")
    assert (status, body["code"]) == (404, 5)
    status, body = argo.call("GET", "/sensors/argo")
    assert (status, body["code"]) == (501, 12)


def test_a_generated_name_is_new_each_time(argo: Argo) -> None:
    manifest = workflow("", "main", shell("main", "true"))
    manifest["metadata"] = {"generateName": "gen-"}
    names = {str(cast("JsonObject", argo.create(manifest)["metadata"])["name"]) for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("gen-") for name in names)


def test_a_dry_run_checks_and_keeps_nothing(argo: Argo) -> None:
    manifest = workflow("dry", "main", shell("main", "true"))
    status, _ = argo.call("POST", f"/workflows/{NAMESPACE}", {"workflow": manifest, "serverDryRun": True})
    assert status == 200
    assert argo.call("GET", f"/workflows/{NAMESPACE}/dry")[0] == 404


def test_a_list_selects_by_label_and_sends_only_the_fields_asked_for(argo: Argo) -> None:
    assert argo.call("GET", f"/workflows/{NAMESPACE}")[1]["items"] is None
    for name, team in (("l1", "red"), ("l2", "blue")):
        manifest = workflow(name, "main", shell("main", "true"))
        cast("JsonObject", manifest["metadata"])["labels"] = {"team": team}
        argo.create(manifest)
        argo.finished(name)
    _, body = argo.call(
        "GET", f"/workflows/{NAMESPACE}", listOptions__labelSelector="team in (red,green),team!=blue",
        fields="metadata,items.metadata.name,items.status.phase",
    )  # fmt: skip
    assert body["items"] == [{"metadata": {"name": "l1"}, "status": {"phase": "Succeeded"}}]
    assert int(cast("str", cast("JsonObject", body["metadata"])["resourceVersion"])) > 1
    _, body = argo.call("GET", f"/workflows/{NAMESPACE}/l2", fields="-status.nodes,spec")
    assert "nodes" not in cast("JsonObject", body["status"])
    assert "spec" not in body
    assert argo.call("GET", f"/workflows/{NAMESPACE}", listOptions__limit="x")[0] == 400


def test_terminate_ends_the_processes_then_the_workflow(argo: Argo) -> None:
    argo.create(workflow("term", "main", SLEEPER))
    pid = pid_of(argo, "term")
    status, body = argo.put("term", "terminate")
    assert status == 200
    assert cast("JsonObject", body["spec"])["shutdown"] == "Terminate"
    done = argo.finished("term", "Failed")
    assert not alive(pid)
    assert nodes_of(done)["term"]["message"] == "workflow shutdown with strategy:  Terminate"
    assert cast("JsonObject", done["status"])["message"] == "Stopped with strategy 'Terminate'"
    status, body = argo.put("term", "terminate")
    assert (status, body["code"]) == (500, 13)
    assert str(body["message"]).startswith("cannot shutdown a completed workflow")


def test_stop_lets_the_exit_handler_run_and_terminate_does_not(argo: Argo) -> None:
    for name, verb in (("halt", "stop"), ("dead", "terminate")):
        argo.create(workflow(name, "main", SLEEPER, shell("bye", "true"), onExit="bye"))
        pid_of(argo, name)
        assert argo.put(name, verb)[0] == 200
    assert nodes_of(argo.finished("halt", "Failed"))["halt.onExit"]["phase"] == "Succeeded"
    assert "dead.onExit" not in nodes_of(argo.finished("dead", "Failed"))


def test_retry_keeps_what_succeeded_and_runs_the_rest_again(argo: Argo, settings: ArgoSandboxSettings) -> None:
    flag = settings.data_dir / "flag"
    tasks: list[JsonValue] = [
        {"name": "ok", "template": "ok"},
        {"name": "try", "template": "try", "dependencies": ["ok"]},
        {"name": "then", "template": "ok", "dependencies": ["try"]},
    ]
    manifest = workflow(
        "redo",
        "main",
        {"name": "main", "dag": {"tasks": tasks}},
        shell("ok", "date +%s%N"),
        shell("try", f"cat {flag}"),
    )
    assert argo.create(manifest)
    assert argo.put("redo", "retry")[0] == 400
    first = argo.finished("redo", "Failed")
    flag.write_text("")
    status, body = argo.put("redo", "retry")
    assert status == 200
    assert cast("JsonObject", body["status"])["finishedAt"] is None
    second = argo.finished("redo", "Succeeded")
    assert cast("JsonObject", second["metadata"])["uid"] == cast("JsonObject", first["metadata"])["uid"]
    assert nodes_of(second)["ok"] == nodes_of(first)["ok"] | {"children": nodes_of(second)["ok"]["children"]}
    assert nodes_of(second)["then"]["type"] == "Pod"
    status, body = argo.put("redo", "retry")
    assert (status, body["code"]) == (400, 3)
    assert "To retry a succeeded workflow" in str(body["message"])


def test_deleting_a_running_workflow_ends_its_processes(argo: Argo) -> None:
    argo.create(workflow("gone", "main", SLEEPER))
    pid = pid_of(argo, "gone")
    assert argo.call("DELETE", f"/workflows/{NAMESPACE}/gone") == (200, {})
    assert argo.call("GET", f"/workflows/{NAMESPACE}/gone")[0] == 404
    until(lambda: not alive(pid))
    argo.run(workflow("gone", "main", shell("main", "true")))  # the name is free again


def test_a_suspended_workflow_starts_nothing_until_it_is_resumed(argo: Argo) -> None:
    argo.create(workflow("wait", "main", shell("main", "true"), suspend=True))
    running = argo.until("wait", lambda status: status.get("phase") == "Running")
    assert nodes_of(running) == {}
    assert argo.put("wait", "resume")[0] == 200
    argo.finished("wait", "Succeeded")


def test_a_suspended_workflow_can_be_terminated(argo: Argo) -> None:
    argo.create(workflow("held", "main", shell("main", "true"), suspend=True))
    argo.until("held", lambda status: status.get("phase") == "Running")
    assert argo.put("held", "terminate")[0] == 200
    argo.finished("held", "Failed")


def test_a_ttl_takes_the_finished_workflow_away(argo: Argo) -> None:
    argo.create(workflow("brief", "main", shell("main", "true"), ttlStrategy={"secondsAfterCompletion": 1}))
    argo.finished("brief", "Succeeded")
    until(lambda: argo.put("brief", "suspend")[0] == 404)  # no longer there, but in the archive


def test_pods_over_the_limit_are_pending(settings: ArgoSandboxSettings) -> None:
    with serve(settings.model_copy(update={"max_concurrent_pods": 1})) as argo:
        argo.create(workflow("first", "main", SLEEPER))
        pid_of(argo, "first")
        argo.create(workflow("second", "main", shell("main", "true")))
        waiting = argo.until("second", lambda status: bool(status.get("nodes")))
        node = nodes_of(waiting)["second"]
        assert (node["phase"], str(node["message"])[:13]) == ("Pending", "Unschedulable")
        argo.put("first", "terminate")
        argo.finished("second", "Succeeded")


def events(url: str, accept: str, **query: str) -> Iterator[JsonObject]:
    """A watch's events; raises when nothing comes for long."""
    answer = urllib3.request(
        "GET", url, headers={"Accept": accept}, preload_content=False, retries=False,
        timeout=urllib3.Timeout(connect=5, read=30), fields={k.replace("__", "."): v for k, v in query.items()},
    )  # fmt: skip
    assert answer.status == 200, answer.data
    buffer = b""
    try:
        while chunk := answer.read1(65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                text = line.removeprefix(b"data: ")
                if text and text != b":":
                    yield json.loads(text)["result"]
    finally:
        answer.close()


def test_a_watch_over_sse_shows_a_workflow_from_its_start_to_its_end(argo: Argo) -> None:
    argo.run(workflow("before", "main", shell("main", "true")))
    since = str(cast("JsonObject", argo.call("GET", f"/workflows/{NAMESPACE}")[1]["metadata"])["resourceVersion"])
    stream = events(
        f"{argo.url}/api/v1/workflow-events/{NAMESPACE}", "text/event-stream", listOptions__resourceVersion=since,
        listOptions__labelSelector="mine=yes",
        fields="result.type,result.object.metadata.name,result.object.metadata.resourceVersion,result.object.status.phase",
    )  # fmt: skip
    seen: list[JsonObject] = []

    def read() -> None:
        for event in stream:
            seen.append(event)
            if event["type"] == "DELETED":
                return

    reader = threading.Thread(target=read)
    reader.start()
    manifest = workflow("watched", "main", shell("main", "true"))
    cast("JsonObject", manifest["metadata"])["labels"] = {"mine": "yes"}
    argo.run(workflow("other", "main", shell("main", "true")))
    argo.run(manifest)
    argo.call("DELETE", f"/workflows/{NAMESPACE}/watched")
    reader.join(20)
    assert not reader.is_alive()
    objects = [cast("JsonObject", event["object"]) for event in seen]
    assert {str(cast("JsonObject", o["metadata"])["name"]) for o in objects} == {"watched"}
    assert [event["type"] for event in seen] == ["ADDED", *["MODIFIED"] * (len(seen) - 2), "DELETED"]
    phases = [cast("JsonObject", o.get("status", {})).get("phase") for o in objects]
    assert phases[0] is None
    assert phases[-2:] == ["Succeeded", "Succeeded"]
    assert all(set(o) <= {"metadata", "status"} for o in objects)
    versions = [int(cast("str", cast("JsonObject", o["metadata"])["resourceVersion"])) for o in objects]
    assert versions == sorted(set(versions))


def test_a_watch_without_a_version_begins_with_what_exists_and_is_ndjson(argo: Argo) -> None:
    argo.run(workflow("there", "main", shell("main", "true")))
    stream = events(f"{argo.url}/api/v1/workflow-events/{NAMESPACE}", "application/json")
    first = next(stream)
    assert first["type"] == "ADDED"
    assert cast("JsonObject", cast("JsonObject", first["object"])["metadata"])["name"] == "there"
    cast("Generator[JsonObject]", stream).close()


def test_a_quiet_sse_watch_is_kept_alive(argo: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.sandbox.argo.api.framing.KEEPALIVE_S", 0.2)
    answer = urllib3.request(
        "GET", f"{argo.url}/api/v1/workflow-events/{NAMESPACE}", headers={"Accept": "text/event-stream"},
        preload_content=False, retries=False, timeout=10,
    )  # fmt: skip
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.read1(10) == b":\n"
    answer.close()


def test_a_version_from_before_the_window_is_too_old(settings: ArgoSandboxSettings) -> None:
    with serve(settings) as argo:
        argo.run(workflow("old", "main", shell("main", "true")))
    with serve(settings) as argo:
        status, body = argo.call("GET", f"/workflow-events/{NAMESPACE}", listOptions__resourceVersion="2")
        error = cast("JsonObject", body["error"])
        assert (status, error["grpc_code"], error["http_code"]) == (400, 3, 400)
        assert str(error["message"]).startswith("too old resource version: 2")


def test_logs_are_followed_to_the_end(argo: Argo) -> None:
    argo.create(workflow("talk", "main", shell("main", "for i in 1 2 3; do echo line $i; sleep 0.2; done")))
    argo.until("talk", lambda status: status.get("progress") is not None)
    assert argo.logs("talk", podName="talk", logOptions__container="main", logOptions__follow="true") == [
        "line 1", "line 2", "line 3",
    ]  # fmt: skip
    assert argo.logs("talk", podName="talk", grep="2$") == ["line 2"]
    assert argo.logs("talk", podName="someone-else") == []


def test_a_token_is_asked_for_when_one_is_set(settings: ArgoSandboxSettings) -> None:
    with serve(settings.model_copy(update={"token": SecretStr("let-me-in")})) as argo:
        status, body = argo.call("GET", "/version")
        assert (status, body["code"]) == (401, 16)
        status, body = Argo(argo.url, token="let-me-in").call("GET", "/version")
        assert status == 200
        assert str(body["version"]).endswith("+sandbox")


@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # hera's own use of pydantic
def test_unmodified_hera_creates_a_workflow_and_waits_for_it(argo: Argo) -> None:
    with Workflow(
        generate_name="hera-", entrypoint="main", namespace=NAMESPACE,
        workflows_service=WorkflowsService(host=argo.url, namespace=NAMESPACE, verify_ssl=False),
    ) as hera:  # fmt: skip
        say = Container(name="say", image="alpine:3", command=["echo", "hello"])
        with Steps(name="main"):
            say()
    hera.create(wait=True, poll_interval=1)
    assert hera.name is not None
    argo.finished(hera.name, "Succeeded")


class Sdk(Protocol):
    """What the untyped package offers, with the raw answer asked for."""

    def create_workflow(self, namespace: str, body: object, *, _preload_content: bool) -> urllib3.HTTPResponse: ...
    def get_workflow(
        self, namespace: str, name: str, *, fields: str, _preload_content: bool
    ) -> urllib3.HTTPResponse: ...
    def list_workflows(
        self, namespace: str, *, list_options_label_selector: str, _preload_content: bool
    ) -> urllib3.HTTPResponse: ...
    def delete_workflow(self, namespace: str, name: str, *, _preload_content: bool) -> urllib3.HTTPResponse: ...


def test_the_argo_workflows_package_talks_to_it(argo: Argo) -> None:
    configuration = argo_workflows.Configuration(host=argo.url, discard_unknown_keys=True)
    with argo_workflows.ApiClient(configuration) as client:
        api = cast("Sdk", workflow_service_api.WorkflowServiceApi(client))
        request = cast(
            "object", CreateRequest(workflow=workflow("sdk", "main", shell("main", "true")), _check_type=False)
        )
        created = api.create_workflow(NAMESPACE, request, _preload_content=False).json()
        assert created["metadata"]["name"] == "sdk"
        argo.finished("sdk", "Succeeded")
        seen = api.get_workflow(NAMESPACE, "sdk", fields="metadata.name,status.phase", _preload_content=False)
        assert seen.json() == {"metadata": {"name": "sdk"}, "status": {"phase": "Succeeded"}}
        with pytest.raises(argo_workflows.ApiException) as caught:
            api.create_workflow(NAMESPACE, request, _preload_content=False)
        assert caught.value.status == 409
        assert json.loads(cast("str", caught.value.body))["code"] == 6
        listed = api.list_workflows(NAMESPACE, list_options_label_selector="x=y", _preload_content=False)
        assert listed.json()["items"] is None
        deleted = api.delete_workflow(NAMESPACE, "sdk", _preload_content=False)
        assert (deleted.status, deleted.json()) == (200, {})
