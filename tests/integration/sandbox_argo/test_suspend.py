"""Suspend nodes over the API: resume, set, stop, and what a restart of the server leaves."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NAMESPACE, Argo, nodes_of, server_process, shell, workflow

ASK: JsonObject = {
    "name": "ask", "suspend": {},
    "outputs": {"parameters": [{"name": "answer", "valueFrom": {"supplied": {}, "default": "none"}}]},
}  # fmt: skip
SAY = shell("say", "echo {{inputs.parameters.v}}", inputs={"parameters": [{"name": "v"}]})


def _asks() -> JsonObject:
    value = "{{steps.ask.outputs.parameters.answer}}"
    say = {"name": "say", "template": "say", "arguments": {"parameters": [{"name": "v", "value": value}]}}
    return workflow("asks", "main", {"name": "main", "steps": [[{"name": "ask", "template": "ask"}], [say]]}, ASK, SAY)


def _waiting(argo: Argo, name: str) -> None:
    argo.until(name, lambda status: "Suspend" in json.dumps(status.get("nodes", {})))


def _put(argo: Argo, name: str, verb: str, **body: JsonValue) -> tuple[int, JsonObject]:
    return argo.call("PUT", f"/workflows/{NAMESPACE}/{name}/{verb}", body)


def test_what_is_set_on_a_waiting_node_goes_on_when_it_is_resumed(argo: Argo) -> None:
    argo.create(_asks())
    _waiting(argo, "asks")
    chosen = "displayName=ask"
    for body, code, reason in (
        (
            {"nodeFieldSelector": chosen, "outputParameters": '{"no":"1"}'},
            500,
            "is not expecting output parameter 'no'",
        ),
        ({"nodeFieldSelector": chosen, "outputParameters": "{"}, 400, "unable to parse output parameter set request"),
        ({"nodeFieldSelector": chosen, "phase": "Running"}, 400, "Running is an invalid phase to set to"),
        ({"outputParameters": '{"answer":"1"}'}, 500, "use a node field selector to target them"),
        ({"nodeFieldSelector": "displayName=no", "message": "x"}, 500, "no suspend nodes matching"),
    ):
        status, answer = _put(argo, "asks", "set", **cast("JsonObject", body))
        assert (status, reason in str(answer["message"])) == (code, True), answer
    status, answer = _put(argo, "asks", "set", nodeFieldSelector=chosen, outputParameters='{"answer":"yes"}')
    assert status == 200
    assert _put(argo, "asks", "resume", nodeFieldSelector=chosen)[0] == 200
    done = argo.finished("asks", "Succeeded")
    assert argo.logs("asks") == ["yes"]
    ask = nodes_of(done)["ask"]
    assert (ask["type"], ask["phase"]) == ("Suspend", "Succeeded")
    assert ask["outputs"] == {"parameters": [{"name": "answer", "value": "yes"}]}


def test_a_resume_of_the_workflow_takes_the_defaults(argo: Argo) -> None:
    argo.create(_asks())
    _waiting(argo, "asks")
    assert argo.put("asks", "resume")[0] == 200
    argo.finished("asks", "Succeeded")
    assert argo.logs("asks") == ["none"]


def test_a_waiting_node_is_stopped_alone_or_with_its_workflow(argo: Argo) -> None:
    argo.create(_asks())
    _waiting(argo, "asks")
    assert _put(argo, "asks", "stop", nodeFieldSelector="displayName=ask", message="refused")[0] == 200
    done = argo.finished("asks", "Failed")
    assert nodes_of(done)["ask"]["message"] == "refused"
    argo.create({**_asks(), "metadata": {"name": "again"}})
    _waiting(argo, "again")
    assert argo.put("again", "stop")[0] == 200
    done = argo.finished("again", "Failed")
    assert nodes_of(done)["ask"]["message"] == "Stopped with strategy 'Stop'"


def test_a_suspended_workflow_outlives_its_server_and_wakes_in_time(
    settings: ArgoSandboxSettings, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wait = {"name": "wait", "suspend": {"duration": "4s"}}
    main = {"name": "main", "steps": [[{"name": "wait", "template": "wait"}], [{"name": "go", "template": "go"}]]}
    with server_process(settings, port) as server:
        server.argo.create(workflow("wakes", "main", main, wait, shell("go", f"touch {tmp_path}/went")))
        _waiting(server.argo, "wakes")
        server.kill()
    with server_process(settings, port) as server:
        done = server.argo.finished("wakes", "Succeeded")
    waited = nodes_of(done)["wait"]
    assert waited["phase"] == "Succeeded"
    assert (tmp_path / "went").exists()


def test_a_retry_runs_chosen_nodes_again_with_new_parameters(argo: Argo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    a = shell("a", f"echo a-{{{{workflow.parameters.x}}}} >> {log}")
    b = shell("b", f"echo b-{{{{workflow.parameters.x}}}} >> {log}")
    main = {"name": "main", "dag": {"tasks": [{"name": "a", "template": "a"}, {"name": "b", "template": "b"}]}}
    argo.run(workflow("twice", "main", main, a, b, arguments={"parameters": [{"name": "x", "value": "1"}]}))
    status, answer = _put(argo, "twice", "retry")
    assert (status, "restartSuccessful" in str(answer["message"])) == (400, True)
    body: JsonObject = {"restartSuccessful": True, "nodeFieldSelector": "displayName=b", "parameters": ["x=2"]}
    assert _put(argo, "twice", "retry", **body)[0] == 200
    argo.finished("twice", "Succeeded")
    assert sorted(log.read_text().split()) == ["a-1", "b-1", "b-2"]
    status, answer = _put(
        argo, "twice", "retry", restartSuccessful=True, nodeFieldSelector="displayName=b", parameters=["x"]
    )
    assert (status, "expected parameter of the form: NAME=VALUE" in str(answer["message"])) == (500, True)
