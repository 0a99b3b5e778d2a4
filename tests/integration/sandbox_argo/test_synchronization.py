"""Locks and caches on a real server: who runs when, what the statuses say, and what a restart leaves."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import (
    NAMESPACE,
    Argo,
    nodes_of,
    serve,
    server_process,
    shell,
    workflow,
)
from tests.support.ports import free_port

OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {two: "2"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: begun, labels: {workflows.argoproj.io/configmap-type: Cache}}
data:
  known: '{"nodeID":"x","outputs":{"parameters":[{"name":"made","value":"long ago"}]},
    "creationTimestamp":"2021-10-12T15:14:04Z","lastHitTimestamp":"2021-10-12T15:14:04Z"}'
"""
MUTEX: JsonObject = {"mutexes": [{"name": "x"}]}


def with_objects(settings: ArgoSandboxSettings) -> ArgoSandboxSettings:
    file = settings.data_dir.parent / "objects.yaml"
    file.write_text(OBJECTS)
    return settings.model_copy(update={"objects": (file,)})


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    """One server for all tests: each has locks of its own."""
    with serve(with_objects(module_settings)) as client:
        yield client


def mutex(name: str) -> JsonObject:
    return {"mutexes": [{"name": name}]}


def held(name: str, flag: Path, lock: JsonObject, **spec: object) -> JsonObject:
    """A workflow that holds its lock until there is a file."""
    source = f"while ! test -e {flag}; do sleep 0.05; done"
    return workflow(name, "main", shell("main", source), synchronization=lock, **spec)


def test_a_workflow_waits_pending_until_the_other_has_ended(argo: Argo, tmp_path: Path) -> None:
    argo.create(held("first", tmp_path / "flag", mutex("wf")))
    argo.until("first", lambda status: bool(status.get("synchronization")))
    argo.create(held("second", tmp_path / "flag", mutex("wf")))
    status = cast("JsonObject", argo.until("second", lambda status: status.get("phase") == "Pending")["status"])
    assert status["message"] == "Waiting for argo/Mutex/wf lock. Lock status: 0/1"
    assert status["synchronization"] == {"mutex": {"waiting": [{"mutex": "argo/Mutex/wf", "holder": "argo/first"}]}}
    assert (status["startedAt"], "nodes" in status) == (None, False)
    (tmp_path / "flag").touch()
    first, second = (cast("JsonObject", argo.finished(name, "Succeeded")["status"]) for name in ("first", "second"))
    assert "synchronization" not in first | second
    assert str(first["finishedAt"]) <= str(second["startedAt"])


@pytest.mark.parametrize("verb", ["terminate", "stop", "delete"])
def test_a_lock_is_free_again_after(argo: Argo, tmp_path: Path, verb: str) -> None:
    name = f"holder-{verb}"
    argo.create(held(name, tmp_path / "never", mutex(verb)))
    argo.until(name, lambda status: status.get("progress") == "0/1")
    argo.create(workflow(f"next-{verb}", "main", shell("main", "true"), synchronization=mutex(verb)))
    argo.until(f"next-{verb}", lambda status: status.get("phase") == "Pending")
    if verb == "delete":
        assert argo.call("DELETE", f"/workflows/{NAMESPACE}/{name}")[0] == 200
    else:
        assert argo.put(name, verb)[0] == 200
    argo.finished(f"next-{verb}", "Succeeded")


def test_a_semaphore_lets_as_many_in_as_its_config_map_says(argo: Argo, tmp_path: Path) -> None:
    semaphore = {"semaphores": [{"configMapKeyRef": {"name": "limits", "key": "two"}}]}
    inside = tmp_path / "inside"
    inside.mkdir()
    source = f"touch {inside}/$$; ls {inside} | wc -l; sleep 0.1; rm {inside}/$$"
    call = {"name": "s", "template": "leaf", "withSequence": {"count": "6"}}
    done = argo.run(
        workflow("crowd", "main", {"name": "main", "steps": [[call]]}, shell("leaf", source, synchronization=semaphore))
    )
    assert {line for line in argo.logs("crowd") if line.strip().isdigit()} <= {"1", "2"}
    assert cast("JsonObject", done["status"])["progress"] == "6/6"


def test_a_limit_that_is_not_there_fails_the_workflow_and_the_node(argo: Argo) -> None:
    missing = {"semaphores": [{"configMapKeyRef": {"name": "nowhere", "key": "k"}}]}
    message = "failed to initialize semaphore argo/ConfigMap/nowhere/k with limit"
    failed = argo.run(workflow("no-limit", "main", shell("main", "true"), synchronization=missing), "Failed")
    said = cast("JsonObject", failed["status"])["message"]
    assert said == f"Failed to acquire the synchronization lock. {message}"
    failed = argo.run(workflow("no-limit-2", "main", shell("main", "true", synchronization=missing)), "Error")
    assert nodes_of(failed)["no-limit-2"]["message"] == message


def test_locks_of_a_database_are_refused_by_name(argo: Argo) -> None:
    locks = {"mutexes": [{"name": "x", "database": True}], "semaphores": [{"database": {"key": "k"}}]}
    message = argo.refuse(workflow("db", "main", shell("main", "true"), synchronization=locks))
    for place in ("mutexes[x].database", "semaphores[0].database"):
        assert f"spec.synchronization.{place}" in message
    assert "spec.synchronization.mutex is" in argo.refuse(
        workflow("old", "main", shell("main", "true"), synchronization={"mutex": {"name": "x"}})
    )


def test_a_memoized_template_runs_once(argo: Argo, tmp_path: Path) -> None:
    count = tmp_path / "count"
    made = {"parameters": [{"name": "made", "valueFrom": {"path": "/tmp/made"}}]}
    memoize = {"key": "{{workflow.parameters.key}}", "maxAge": "1h", "cache": {"configMap": {"name": "cache"}}}
    leaf = shell("main", f"echo x >> {count}; wc -l < {count} | tr -d ' ' > /tmp/made", memoize=memoize, outputs=made)

    def run(name: str, key: str) -> JsonObject:
        arguments = {"parameters": [{"name": "key", "value": key}]}
        return nodes_of(argo.run(workflow(name, "main", leaf, arguments=arguments)))[name]

    def value(node: JsonObject) -> object:
        return cast("list[JsonObject]", cast("JsonObject", node["outputs"])["parameters"])[0]["value"]

    first, again, other = run("memo-1", "k"), run("memo-2", "k"), run("memo-3", "l")
    assert first["memoizationStatus"] == {"hit": False, "key": "k", "cacheName": "cache"}
    assert again["memoizationStatus"] == {"hit": True, "key": "k", "cacheName": "cache"}
    assert [value(node) for node in (first, again, other)] == ["1", "1", "2"]
    assert (again["type"], again["phase"]) == ("Pod", "Succeeded")


def test_a_cache_begins_with_its_config_map_and_refuses_one_that_is_none(argo: Argo) -> None:
    made = {"parameters": [{"name": "made", "valueFrom": {"path": "/tmp/made"}}]}

    def manifest(name: str, config_map: str, age: str = "", key: str = "known") -> JsonObject:
        memoize = {"key": key, "maxAge": age, "cache": {"configMap": {"name": config_map}}}
        return workflow(name, "main", shell("main", "echo now > /tmp/made", memoize=memoize, outputs=made))

    for name, age, value in (("fresh", "", "long ago"), ("stale", "1h", "now")):
        node = nodes_of(argo.run(manifest(name, "begun", age)))[name]
        assert cast("list[JsonObject]", cast("JsonObject", node["outputs"])["parameters"])[0]["value"] == value
    wrong = "memoization configmap doesn't have workflows.argoproj.io/configmap-type label, refusing to use it"
    assert nodes_of(argo.run(manifest("none", "limits"), "Error"))["none"]["message"] == wrong
    bad = nodes_of(argo.run(manifest("bad-key", "begun", key="a b"), "Error"))["bad-key"]
    assert bad["message"] == "invalid cache key: a b"


def test_locks_and_caches_outlive_the_server(settings: ArgoSandboxSettings, tmp_path: Path) -> None:
    port, flag = free_port(), tmp_path / "flag"
    memoize = {"key": "k", "maxAge": "", "cache": {"configMap": {"name": "cache"}}}
    with server_process(settings, port) as server:
        server.argo.run(workflow("memo-1", "main", shell("main", "true", memoize=memoize)))
        # nothing runs in it, so the restart takes nothing from it
        server.argo.create(workflow("holder", "main", {"name": "main", "suspend": {}}, synchronization=MUTEX))
        server.argo.until("holder", lambda status: bool(status.get("synchronization")))
        for name, more in (("late", {}), ("urgent", {"priority": 7})):
            server.argo.create(held(name, flag, MUTEX, **more))
            server.argo.until(name, lambda status: status.get("phase") == "Pending")
        server.kill()
    flag.touch()
    with server_process(settings, port) as server:
        for name in ("late", "urgent"):
            status = cast("JsonObject", server.argo.get(name)["status"])
            assert status["message"] == "Waiting for argo/Mutex/x lock. Lock status: 0/1"
        assert server.argo.put("holder", "resume")[0] == 200
        urgent, late = (cast("JsonObject", server.argo.finished(n, "Succeeded")["status"]) for n in ("urgent", "late"))
        assert str(urgent["finishedAt"]) <= str(late["startedAt"])
        again = server.argo.run(workflow("memo-2", "main", shell("main", "false", memoize=memoize)))
        assert cast("JsonObject", nodes_of(again)["memo-2"]["memoizationStatus"])["hit"] is True
