"""Resource templates: workflows that make and wait for workflows and other objects."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.actions import Action
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.store import Store
from tests.integration.sandbox_argo.conftest import (
    NAMESPACE,
    Argo,
    nodes_of,
    serve,
    server_process,
    shell,
    until,
    workflow,
)
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    with serve(module_settings.model_copy(update={"max_concurrent_pods": 1})) as client:
        yield client


def resource(name: str, action: str, body: object = None, **more: object) -> JsonObject:
    """A resource template; its manifest is JSON, which is YAML too."""
    outputs = more.pop("outputs", {})
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    shown = {"manifest": text} if text else {}
    parameters = [{"name": k, "valueFrom": {"jsonPath": v}} for k, v in cast("dict[str, str]", outputs).items()]
    body = {"name": name, "resource": {"action": action, **shown, **more}, "outputs": {"parameters": parameters}}
    return cast("JsonObject", body)


def in_order(*templates: JsonObject) -> list[JsonObject]:
    """A template `main` that runs these one after another, and they."""
    steps = [[{"name": str(t["name"]), "template": str(t["name"])}] for t in templates]
    return [cast("JsonObject", {"name": "main", "steps": steps}), *templates]


def child(name: str, source: str) -> JsonObject:
    return workflow(name, "work", shell("work", source))


def config(name: str, data: dict[str, str] | None = None, **labels: str) -> JsonObject:
    metadata: JsonObject = {"name": name, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data or {})}


WAIT = {
    "successCondition": "status.phase == Succeeded", "failureCondition": "status.phase in (Failed, Error)",
}  # fmt: skip


def test_a_workflow_waits_for_its_child_without_taking_the_childs_only_place(argo: Argo) -> None:
    made = resource("make", "create", child("child-1", "echo hi"), **WAIT,
                    outputs={"name": "{.metadata.name}", "phase": "{.status.phase}"})  # fmt: skip
    ended = argo.run(workflow("parent-1", "make", made))
    node = nodes_of(ended)["parent-1"]
    assert (node["type"], node["phase"], node.get("message")) == ("Pod", "Succeeded", None)
    outputs = cast("JsonObject", node["outputs"])
    values = {p["name"]: p["value"] for p in cast("list[JsonObject]", outputs["parameters"])}
    assert values == {"name": "child-1", "phase": "Succeeded"}
    assert outputs["exitCode"] == "0"


def test_the_childs_failure_fails_the_node_with_the_condition(argo: Argo) -> None:
    made = resource("make", "create", child("child-2", "exit 3"), **WAIT)
    ended = argo.run(workflow("parent-2", "make", made), "Failed")
    assert nodes_of(ended)["parent-2"]["message"] == (
        "main: Error (exit code 64): failure condition 'status.phase in (Error,Failed)' evaluated true"
    )


def test_a_terminated_parent_leaves_its_child_and_its_deletion_takes_what_it_owns(argo: Argo) -> None:
    owned = resource("own", "create", config("owned"), setOwnerReference=True)
    made = resource("make", "create", child("child-3", "sleep 60"), setOwnerReference=True, **WAIT)
    argo.create(workflow("parent-3", "main", *in_order(owned, made)))
    until(lambda: "child-3" in _names(argo))
    argo.until("child-3", lambda status: status.get("progress") == "0/1" and status.get("phase") == "Running")
    (owner,) = cast("list[JsonObject]", cast("JsonObject", argo.get("child-3")["metadata"])["ownerReferences"])
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Workflow", "parent-3", True)
    assert argo.put("parent-3", "terminate")[0] == 200
    ended = argo.finished("parent-3", "Failed")
    assert nodes_of(ended)["make"]["message"] == "workflow shutdown with strategy:  Terminate"
    assert cast("JsonObject", argo.get("child-3")["status"])["phase"] == "Running"
    assert argo.call("DELETE", f"/workflows/{NAMESPACE}/parent-3")[0] == 200
    assert "child-3" not in _names(argo)  # it had not ended: the archive has only its parent
    gone = argo.run(workflow("look", "get", resource("get", "get", config("owned"))), "Failed")
    assert nodes_of(gone)["look"]["message"] == (
        'main: Error (exit code 64): no more retries Error from server (NotFound): configmaps "owned" not found'
    )


def test_a_killed_server_goes_on_waiting_and_creates_nothing_twice(settings: ArgoSandboxSettings) -> None:
    port, flag = free_port(), settings.data_dir.parent / "flag"
    waiting = child("", f"until test -e {flag}; do sleep 0.05; done")
    waiting["metadata"] = {"generateName": "child-"}
    waiting["spec"] = {**cast("JsonObject", waiting["spec"]), "suspend": True}
    made = resource("make", "create", waiting, outputs={"name": "{.metadata.name}"}, **WAIT)
    kept = resource("keep", "create", config("kept", {"word": "kept"}))
    read = shell("read", "cat /etc/word", volumes=[{"name": "v", "configMap": {"name": "kept"}}])
    cast("JsonObject", read["container"])["volumeMounts"] = [{"name": "v", "mountPath": "/etc/word", "subPath": "word"}]
    with server_process(settings, port) as server:
        server.argo.create(workflow("parent", "main", *in_order(kept, made, read)))
        server.argo.until("parent", lambda s: "Running" in str(nodes_of({"status": s}).get("make")))
        until(lambda: len(_names(server.argo)) == 2)
        server.kill()
    with server_process(settings, port) as server:
        names = _names(server.argo)
        assert len(names) == 2
        (name,) = names - {"parent"}
        assert cast("JsonObject", server.argo.get("parent")["status"])["phase"] == "Running"
        flag.touch()
        assert server.argo.put(name, "resume")[0] == 200
        ended = server.argo.finished("parent", "Succeeded")
        (value,) = cast("list[JsonObject]", cast("JsonObject", nodes_of(ended)["make"]["outputs"])["parameters"])
        assert value["value"] == name
        assert server.argo.logs("parent")[-1] == "kept"
        assert _names(server.argo) == names


def test_a_creation_that_a_server_did_not_live_to_note_is_not_done_again(settings: ArgoSandboxSettings) -> None:
    waiting = {**child("", "true"), "metadata": {"generateName": "child-"}}
    waiting["spec"] = {**cast("JsonObject", waiting["spec"]), "suspend": True}
    made = resource("make", "create", waiting, outputs={"name": "{.metadata.name}"}, **WAIT)
    with serve(settings) as argo:
        argo.create(workflow("parent", "make", made))
        until(lambda: len(_names(argo)) == 2)
        names = _names(argo)
    store = Store(settings.data_dir / "argo.db")
    ((uid, node_id),) = store.actions.nodes()
    action = store.actions.get(uid, node_id)
    assert action is not None and action.done
    store.actions.put(uid, node_id, Action(action.made))  # as it is just before the creation
    store.close()
    with serve(settings) as argo:
        (name,) = names - {"parent"}
        assert argo.put(name, "resume")[0] == 200
        argo.finished("parent", "Succeeded")
        assert _names(argo) == names


def _names(argo: Argo) -> set[str]:
    items = cast("list[JsonObject]", argo.call("GET", f"/workflows/{NAMESPACE}")[1]["items"] or [])
    return {str(cast("JsonObject", item["metadata"])["name"]) for item in items}


def test_config_maps_are_applied_patched_replaced_and_deleted(argo: Argo) -> None:
    read = {"a": "{.data.a}", "b": "{.data.b}", "c": "{.data.c}"}
    templates = in_order(
        resource("apply", "apply", config("cm", {"a": "1", "b": "1"})),
        resource("merge", "patch", {"data": {"c": "1"}}, mergeStrategy="merge", flags=["configmap", "cm"]),
        resource("again", "apply", config("cm", {"a": "2"}), outputs=read),
        resource("strategic", "patch", config("cm", {"b": "3"})),
        resource("json", "patch", [{"op": "replace", "path": "/data/a", "value": "4"}], mergeStrategy="json",
                 flags=["configmap/cm"], outputs=read),
        resource("replace", "replace", config("cm", {"a": "5"}), outputs=read),
        resource("delete", "delete", config("cm")),
        resource("twice", "delete", config("cm")),
        resource("absent", "get", flags=["cm", "cm", "--ignore-not-found"], outputs=read),
    )  # fmt: skip
    nodes = nodes_of(argo.run(workflow("config-maps", "main", *templates)))

    def values(name: str) -> str:
        outputs = cast("JsonObject", nodes[name]["outputs"])
        return "-".join(str(p["value"]) for p in cast("list[JsonObject]", outputs["parameters"]))

    assert (values("again"), values("json")) == ("2--1", "4-3-1")
    assert (values("replace"), values("absent")) == ("5--", "--")


def test_secrets_claims_and_template_objects_are_held_too(argo: Argo) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"word": "hidden"}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    base = {"apiVersion": "argoproj.io/v1alpha1", "metadata": {"name": "stored"}}
    spec = {"entrypoint": "work", "templates": [shell("work", "true")]}
    env: JsonObject = {"name": "W", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}}
    use = shell("use", "echo $W > /disk/word", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "disk"}}])
    container = cast("JsonObject", use["container"])
    container["env"], container["volumeMounts"] = [env], [{"name": "d", "mountPath": "/disk"}]
    templates = in_order(
        resource("secret", "create", secret, outputs={"word": "{.data.word}"}),
        resource("claim", "create", claim, successCondition="status.phase = Bound"),
        use,
        resource("template", "create", {**base, "kind": "WorkflowTemplate", "spec": spec}),
        resource("label", "patch", {"metadata": {"labels": {"x": "y"}}}, mergeStrategy="merge",
                 flags=["workflowtemplate", "stored"], outputs={"x": "{.metadata.labels.x}"}),
        resource("cron", "create", {**base, "kind": "CronWorkflow",
                                    "spec": {"schedules": ["0 3 * * *"], "workflowSpec": spec}}),
        resource("suspend", "patch", {"spec": {"suspend": True}}, mergeStrategy="merge", flags=["cwf", "stored"]),
        resource("run", "create", {**base, "kind": "Workflow", "metadata": {"name": "of-stored"},
                                   "spec": {"workflowTemplateRef": {"name": "stored"}}}, **WAIT),
        resource("gone", "delete", flags=["pvc", "disk"]),
    )  # fmt: skip
    nodes = nodes_of(argo.run(workflow("kinds", "main", *templates)))
    (word,) = cast("list[JsonObject]", cast("JsonObject", nodes["secret"]["outputs"])["parameters"])
    (label,) = cast("list[JsonObject]", cast("JsonObject", nodes["label"]["outputs"])["parameters"])
    assert (word["value"], label["value"]) == ("aGlkZGVu", "y")
    cron = argo.call("GET", f"/cron-workflows/{NAMESPACE}/stored")[1]
    assert cast("JsonObject", cron["spec"])["suspend"] is True


def test_a_workflow_labels_itself_and_stops_another(argo: Argo) -> None:
    argo.create(child("victim", "sleep 60"))
    label = [{"op": "add", "path": "/metadata/labels/seen", "value": "yes"}]
    templates = in_order(
        resource("label", "patch", label, mergeStrategy="json", flags=["workflow", "{{workflow.name}}"]),
        resource("stop", "patch", {"spec": {"shutdown": "Terminate"}}, mergeStrategy="merge", flags=["wf/victim"],
                 successCondition="status.phase = Failed"),
    )  # fmt: skip
    ended = argo.run(workflow("labels-itself", "main", *templates))
    labels = cast("JsonObject", cast("JsonObject", ended["metadata"])["labels"])
    assert (labels["seen"], labels["workflows.argoproj.io/phase"]) == ("yes", "Succeeded")
    argo.finished("victim", "Failed")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            resource("a", "create", config("there")),
            'Error from server (AlreadyExists): error when creating "/tmp/manifest.yaml": configmaps "there" '
            "already exists",
        ),
        (
            resource("a", "patch", {"metadata": {"labels": {"a": "b"}}}, flags=["wf", "refusals-1"]),
            "Error from server (UnsupportedMediaType): the body of the request was in an unknown format - accepted "
            "media types include: application/json-patch+json, application/merge-patch+json, "
            "application/apply-patch+yaml",
        ),
        (
            resource("a", "get", flags=["wf", "nothing", "-n", "elsewhere"]),
            'Error from server (Forbidden): the sandbox manages the namespace "argo" only, not "elsewhere"',
        ),
        (
            resource("a", "patch", {"spec": {"entrypoint": "b"}}, mergeStrategy="merge", flags=["wf", "refusals-3"]),
            'Error from server (Invalid): error when changing "/tmp/manifest.yaml": spec.entrypoint of a Workflow that '
            "is there cannot be changed in the sandbox",
        ),
        (
            resource("a", "create", '{apiVersion: v1, kind: "{{=\'P\' + \'od\'}}", metadata: {name: x}}'),
            "kind Pod of v1 is not supported by the sandbox, which holds Workflow, WorkflowTemplate, "
            "ClusterWorkflowTemplate, CronWorkflow, ConfigMap, Secret, PersistentVolumeClaim only",
        ),
    ],
)  # fmt: skip
def test_what_the_server_would_refuse_fails_the_node_in_its_words(
    argo: Argo, template: JsonObject, message: str, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["template"]
    argo.run(workflow(f"there-{number}", "a", resource("a", "apply", config("there"))))
    ended = argo.run(workflow(f"refusals-{number}", "a", template), "Failed")
    assert nodes_of(ended)[f"refusals-{number}"]["message"] == f"main: Error (exit code 64): no more retries {message}"


def test_a_deadline_and_a_deletion_end_the_wait(argo: Argo) -> None:
    late = resource("late", "get", flags=["cm", "waited"], successCondition="data.never = x")
    late["activeDeadlineSeconds"] = 1
    kept = resource("wait", "get", flags=["cm", "waited"], successCondition="data.never = x")
    argo.run(workflow("waited-for", "make", resource("make", "create", config("waited"))))
    ended = argo.run(workflow("late", "late", late), "Failed")
    assert nodes_of(ended)["late"]["message"] == "Pod was active on the node longer than the specified deadline"
    argo.create(workflow("waits", "wait", kept))
    argo.until("waits", lambda status: str(nodes_of({"status": status}).get("waits", {}).get("phase")) == "Running")
    argo.run(workflow("deletes", "del", resource("del", "delete", flags=["cm", "waited"])))
    ended = argo.finished("waits", "Failed")
    assert "has been deleted while its status was still being checked" in str(nodes_of(ended)["waits"]["message"])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (resource("a", "create", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}}), "kind Job of batch/v1 is"),
        (resource("a", "create", "kind: {{workflow.name}\n  x"), "templates.a.resource.manifest must be a valid yaml"),
        (resource("a", "scale", config("x")), "action must be one of: get, create, apply, delete, replace, patch"),
        (resource("a", "create"), "either templates.a.resource.manifest or templates.a.resource.manifestFrom must be"),
        (resource("a", "delete", flags=["pod", "x"]), "templates.a.resource.flags: kind pod is not supported"),
        (resource("a", "delete", flags=["cm", "--all"]), "flag --all of kubectl delete is not supported"),
        (resource("a", "create", {**config("x"), "immutable": True}), "immutable is not supported by the sandbox"),
        (resource("a", "get", config("x"), outputs={"x": "{range .a}{end}"}), "jsonPath '{range .a}{end}' is not"),
        (resource("a", "create", manifestFrom={"artifact": {"name": "x"}}), "resource.manifestFrom is not supported"),
        ({**resource("a", "get", config("x")), "sidecars": [{"name": "s", "image": "i"}]}, "templates.a.sidecars of a"),
    ],
)  # fmt: skip
def test_what_the_sandbox_does_not_do_is_refused_at_create(argo: Argo, template: JsonObject, message: str) -> None:
    assert message in argo.refuse(workflow("refused", "a", template))
