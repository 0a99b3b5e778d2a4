"""What the server refuses when a workflow is created, and how it names it."""

from __future__ import annotations

from typing import cast

import pytest
from pydantic import JsonValue

from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NAMESPACE, NOTHING, Argo, nodes_of, shell, workflow

OK = shell("ok", "true")


def steps(*calls: JsonValue) -> JsonObject:
    return {"name": "main", "steps": [list(calls)]}


def dag(*tasks: JsonValue) -> JsonObject:
    return {"name": "main", "dag": {"tasks": list(tasks)}}


def pod(**container: object) -> JsonObject:
    return cast("JsonObject", {"name": "ok", "container": {"image": "alpine:3", "command": ["true"], **container}})


def container_set(*containers: JsonObject) -> JsonObject:
    default: JsonObject = {"image": "alpine:3", "command": ["true"]}
    return {"name": "set", "containerSet": {"containers": [{**default, **container} for container in containers]}}


REFUSED: dict[str, tuple[JsonObject, str]] = {
    "an unsupported field": (
        workflow("x", "ok", OK | {"podSpecPatch": "{}"}),
        "spec.templates[ok].podSpecPatch is not supported by the sandbox",
    ),
    "an empty object that is a choice": (
        workflow("x", "main", {"name": "main", "data": {}}),
        "spec.templates[main].data is not supported",
    ),
    "an unknown field": (workflow("x", "ok", OK, parallelims=3), "spec.parallelims is not supported"),
    "a nested field": (
        workflow("x", "main", {"name": "main", "container": {"image": "a", "command": ["a"], "env": [
            {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}}),
        "spec.templates[main].container.env[E].valueFrom.resourceFieldRef is not supported",
    ),
    "no entrypoint": (workflow("x", "", OK), "spec.entrypoint is required"),
    "an unknown entrypoint": (workflow("x", "no", OK), "spec.entrypoint template name 'no' undefined"),
    "an unknown template": (
        workflow("x", "main", steps({"name": "a", "template": "no"})),
        "templates.main.steps.a template name 'no' undefined",
    ),
    "no template type": (workflow("x", "main", {"name": "main"}), "templates.main template type unspecified"),
    "two template types": (
        workflow("x", "main", OK | steps({"name": "a", "template": "ok"})), "multiple template types",
    ),
    "a cycle": (
        workflow("x", "main", dag({"name": "a", "template": "ok", "dependencies": ["b"]},
                                  {"name": "b", "template": "ok", "dependencies": ["a"]}), OK),
        "templates.main dependency cycle detected: a->b->a",
    ),
    "an unknown dependency": (
        workflow("x", "main", dag({"name": "a", "template": "ok", "depends": "b.Failed"}), OK),
        "templates.main.tasks.a dependency 'b' not defined",
    ),
    "a wrong depends": (
        workflow("x", "main", dag({"name": "a", "template": "ok"},
                                  {"name": "b", "template": "ok", "depends": "a &&"}), OK),
        "invalid depends expression",
    ),
    "an unknown tag": (workflow("x", "main", shell("main", "{{inputs.parameters.no}}")),
                       "templates.main: failed to resolve {{inputs.parameters.no}}"),
    "a function that expressions do not have here": (
        workflow("x", "main", shell("main", "{{= sprig.uuidv4()}}")), "the function sprig.uuidv4 is not supported"
    ),
    "a name that an expression cannot see": (
        workflow("x", "main", shell("main", "{{= inputs.parameters.nope}}")), "failed to resolve"
    ),
    "a hook without its expression": (
        workflow("x", "main", OK | {"name": "main"}, hooks={"running": {"template": "main"}}), "Expression required"
    ),
    "a timeout of steps": (
        workflow("x", "main", {"name": "main", "steps": [[{"name": "a", "template": "ok"}]], "timeout": "5s"}, OK),
        "doesn't support timeout field",
    ),
    "parallelism of a pod": (
        workflow("x", "main", OK | {"name": "main", "parallelism": 2}), "only valid for steps and dag templates"
    ),
    "an input that nobody gives": (
        workflow("x", "main", steps({"name": "a", "template": "in"}),
                 shell("in", "true", inputs={"parameters": [{"name": "p"}]})),
        "templates.main.steps.a inputs.parameters.p was not supplied",
    ),
    "a wrong type": (workflow("x", "ok", OK, activeDeadlineSeconds="soon"), "spec.activeDeadlineSeconds"),
    "an image without a command": (
        workflow("x", "main", {"name": "main", "container": {"image": "nginx:1"}}),
        "image nginx:1 is not in the sandbox's images table",
    ),
    "a volume of another kind": (
        workflow("x", "ok", OK, volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
        "spec.volumes[v].hostPath is not supported",
    ),
    "a mount of no volume": (
        workflow("x", "ok", pod(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
        "templates.ok.container.volumeMounts[0].name: volume 'v' not found",
    ),
    "a mount that leads upwards": (
        workflow("x", "ok", pod(volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "../x"}]),
                 volumes=[{"name": "v", "emptyDir": NOTHING}]),
        "templates.ok.container.volumeMounts[0].subPath: must not contain '..'",
    ),
    "a volume of two kinds": (
        workflow("x", "ok", OK, volumes=[{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]),
        "spec.volumes[v]: the sandbox has volumes with one source",
    ),
    "a field of the pod that there is not": (
        workflow("x", "ok", pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}}])),
        "templates.ok.container.env.A: fieldPath spec.hostname is not supported",
    ),
    "a limit that is no quantity": (
        workflow("x", "ok", pod(resources={"limits": {"memory": "much"}})),
        "templates.ok.container.resources.limits: 'much' is no quantity",
    ),
    "Windows": (
        workflow("x", "ok", OK | {"nodeSelector": {"kubernetes.io/os": "windows"}}),
        "templates.ok.nodeSelector: kubernetes.io/os=windows is not supported",
    ),
    "a container set with an unknown dependency": (
        workflow("x", "set", container_set({"name": "a", "dependencies": ["b"]})),
        "templates.set.containerSet.containers.a dependency 'b' not defined",
    ),
    "a container set in a circle": (
        workflow("x", "set", container_set({"name": "a", "dependencies": ["b"]}, {"name": "b", "dependencies": ["a"]})),
        "templates.set.containerSet.containers dependency cycle detected",
    ),
    "a container set with outputs but no main": (
        workflow("x", "set", container_set({"name": "a"}) | {
            "outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/o"}}]}}),
        'templates.set.containerSet.containers must have a container named "main"',
    ),
    "a sidecar with the executor's name": (
        workflow("x", "ok", OK | {"sidecars": [{"name": "wait", "image": "x", "command": ["true"]}]}),
        "templates.ok.sidecars.wait.name: 'wait' is a reserved Argo container name",
    ),
    "a wrong name": (workflow("Not_A_Name", "ok", OK), "lowercase RFC 1123 subdomain"),
    "a long name": (workflow("x" * 64, "ok", OK), "must not be more than 63 characters long (currently 64)"),
    "another kind": (workflow("x", "ok", OK) | {"kind": "CronWorkflow"}, "kind must be Workflow"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_its_place(argo: Argo, case: str) -> None:
    manifest, reason = REFUSED[case]
    assert reason in argo.refuse(manifest)


def test_every_unsupported_field_is_named_at_once(argo: Argo) -> None:
    message = argo.refuse(
        workflow("x", "ok", OK | {"daemon": True, "hostAliases": [{"ip": "1.2.3.4"}]}, shutdown="Stop")
    )
    for place in ("spec.templates[ok].daemon", "spec.templates[ok].hostAliases", "spec.shutdown"):
        assert place in message


def test_what_has_no_effect_here_is_accepted_and_said(argo: Argo) -> None:
    template = shell("main", "true", serviceAccountName="me")
    cast("JsonObject", template["container"])["resources"] = {"requests": {"cpu": "1"}}
    done = argo.run(workflow("quiet", "main", template))
    conditions = cast("list[JsonObject]", cast("JsonObject", done["status"])["conditions"])
    (warning,) = [c for c in conditions if c["type"] == "SpecWarning"]
    assert "spec.templates[main].serviceAccountName" in str(warning["message"])
    assert "spec.templates[main].container.resources" in str(warning["message"])


def test_a_body_that_is_no_request_is_an_invalid_argument(argo: Argo) -> None:
    for body in ({}, {"workflow": {"metadata": {"name": "x"}}}, ["x"], {"workflow": "x"}):
        status, answer = argo.call("POST", f"/workflows/{NAMESPACE}", cast("JsonValue", body))
        assert (status, answer["code"]) == (400, 3)
    status, answer = argo.call("GET", f"/workflows/{NAMESPACE}", sortBy="name")
    assert (status, answer["message"]) == (400, "query parameter sortBy is not supported by the sandbox")


def test_a_request_larger_than_a_cluster_takes_is_refused(argo: Argo) -> None:
    arguments = {"parameters": [{"name": "big", "value": "x" * 2_000_000}]}
    assert "Request entity too large" in argo.refuse(workflow("big", "ok", OK, arguments=arguments))


def test_a_wrong_when_ends_the_workflow_with_the_reason(argo: Argo) -> None:
    call: JsonObject = {"name": "a", "template": "ok", "when": "{{workflow.parameters.word}} == x"}
    arguments: JsonObject = {"parameters": [{"name": "word", "value": "not-quoted"}]}
    done = argo.run(workflow("when", "main", steps(call), OK, arguments=arguments), "Failed")
    assert "Invalid 'when' expression 'not-quoted == x'" in str(nodes_of(done)["[0]"]["message"])
