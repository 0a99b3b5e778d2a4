"""Many workflows and watches at once, a kill in the middle of them, and what is left afterwards."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

import pytest
import urllib3

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
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


def frames(argo: Argo, accept: str = "application/json", **query: str) -> Iterator[JsonObject]:
    """What a watch sends, errors too; ends when the stream ends."""
    answer = urllib3.request(
        "GET", f"{argo.url}/api/v1/workflow-events/{NAMESPACE}", headers={"Accept": accept}, preload_content=False,
        retries=False, timeout=30, fields={key.replace("__", "."): value for key, value in query.items()},
    )  # fmt: skip
    buffer = b""
    try:
        while chunk := answer.read1(65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if text := line.removeprefix(b"data: ").strip().removeprefix(b":"):
                    yield json.loads(text)
    finally:
        answer.close()


def version_of(argo: Argo) -> str:
    _, listed = argo.call("GET", f"/workflows/{NAMESPACE}", fields="metadata")
    return str(cast("JsonObject", listed["metadata"])["resourceVersion"])


def phases(argo: Argo) -> dict[str, str]:
    _, listed = argo.call("GET", f"/workflows/{NAMESPACE}", fields="items.metadata.name,items.status.phase")
    items = cast("list[dict[str, dict[str, str]]]", listed.get("items") or [])
    return {item["metadata"]["name"]: item["status"].get("phase", "") for item in items}


def ended(argo: Argo) -> int:
    return sum(phase in ("Succeeded", "Failed", "Error") for phase in phases(argo).values())


def kill_in_the_middle(
    settings: ArgoSandboxSettings, workflows: int, pods: int, seconds: float, pause: float = 0
) -> None:
    """Each pod writes a line when it has run; a server that is killed and started again neither loses nor repeats."""
    runs = settings.data_dir.parent / "runs"
    source = f"sleep {pause}; echo {{{{inputs.parameters.id}}}} >> {runs}"
    record = shell("record", source, inputs={"parameters": [{"name": "id"}]})
    tasks = [
        {
            "name": name, "template": "record", "dependencies": needs,
            "arguments": {"parameters": [{"name": "id", "value": f"{{{{workflow.name}}}}/{name}"}]},
        }
        for name, needs in (("one", []), ("two", ["one"]))
    ]  # fmt: skip
    port, arguments = free_port(), ("--max-concurrent-pods", str(pods))
    with server_process(settings, port, *arguments) as server:
        since = version_of(server.argo)
        for number in range(workflows):
            count = 1 + number % 2
            server.argo.create(
                workflow(f"wf-{number}", "main", {"name": "main", "dag": {"tasks": tasks[:count]}}, record)
            )
        until(lambda: ended(server.argo) >= workflows // 5, seconds)
        server.kill()
    with server_process(settings, port, *arguments) as server:
        assert ended(server.argo) < workflows, "it was killed too late for this to prove anything"
        error = cast("JsonObject", next(frames(server.argo, listOptions__resourceVersion=since))["error"])
        assert (error["http_code"], str(error["message"])[:24]) == (400, "too old resource version")
        open_ones = {name for name, phase in phases(server.argo).items() if phase in ("", "Pending", "Running")}
        fields = "result.object.metadata.name,result.object.status.phase"
        for frame in frames(server.argo, "text/event-stream", fields=fields):
            seen = cast("dict[str, dict[str, str]]", cast("JsonObject", frame["result"])["object"])
            if seen["status"].get("phase") in ("Succeeded", "Failed", "Error"):
                open_ones.discard(seen["metadata"]["name"])
            if not open_ones:
                break
        found = [server.argo.get(f"wf-{number}") for number in range(workflows)]
    ran = Counter(runs.read_text().split())
    assert set(ran.values()) == {1}, "a pod was run twice"
    lost = 0
    for one in found:
        name, nodes = str(cast("JsonObject", one["metadata"])["name"]), nodes_of(one)
        pods_of = {key: node for key, node in nodes.items() if key in ("one", "two")}
        cut = [node for node in pods_of.values() if node["phase"] == "Error"]
        assert all(node["message"] == "pod deleted" for node in cut)
        assert cast("JsonObject", one["status"])["phase"] == ("Error" if cut else "Succeeded"), one
        for key, node in pods_of.items():
            if node["phase"] in ("Succeeded", "Omitted"):
                assert ran[f"{name}/{key}"] == (node["phase"] == "Succeeded"), node
        lost += bool(cut)
    assert lost <= pods


def test_a_kill_among_many_workflows_loses_none_and_repeats_none(settings: ArgoSandboxSettings) -> None:
    kill_in_the_middle(settings, workflows=60, pods=6, seconds=60)


@pytest.mark.prove
def test_a_kill_among_a_thousand_workflows_loses_none_and_repeats_none(settings: ArgoSandboxSettings) -> None:
    kill_in_the_middle(settings, workflows=1000, pods=20, seconds=600, pause=1)  # slower than they are created


def test_a_watch_that_is_not_read_is_dropped_and_disturbs_no_other(argo: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.sandbox.argo.state.hub.WINDOW", 5)
    parts = urlsplit(argo.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as silent:
        silent.sendall(b"GET /api/v1/workflow-events/argo HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        assert silent.recv(4) == b"HTTP"
        since = version_of(argo)
        for number in range(60):
            held = workflow(f"held-{number}", "main", shell("main", "true"), suspend=True)
            cast("JsonObject", held["metadata"])["annotations"] = {"padding": "x" * 200_000}
            argo.create(held)
        seen: set[str] = set()
        while len(seen) < 60:  # the window is short: as a client does it, list and watch until all is seen
            seen |= set(phases(argo))
        answer = frames(argo, listOptions__resourceVersion=version_of(argo), listOptions__timeoutSeconds="1")
        assert cast("JsonObject", next(answer)["error"])["http_code"] == 429
        assert cast("JsonObject", next(frames(argo, listOptions__resourceVersion=since))["error"])["http_code"] == 400
        received = bytearray()
        silent.settimeout(20)
        deadline = time.monotonic() + 20
        while not received.endswith(b"0\r\n\r\n"):
            assert time.monotonic() < deadline, "it was not dropped"
            received += silent.recv(1 << 20)
    last = json.loads(bytes(received).rpartition(b"data: ")[2].partition(b"\n")[0])
    assert last["error"] == {"grpc_code": 8, "http_code": 429, "message": "EOF", "http_status": "Too Many Requests"}
    assert received.count(b"data: ") < 60


def test_a_watch_ends_in_its_time_with_a_bookmark_before_it(argo: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meta.sandbox.argo.api.watch.BOOKMARK_S", 0.5)
    argo.run(workflow("there", "main", shell("main", "true")))
    options = {"listOptions__timeoutSeconds": "1", "listOptions__resourceVersion": version_of(argo)}
    bookmark, end = frames(argo, listOptions__allowWatchBookmarks="true", **options)
    shown = cast("JsonObject", bookmark["result"])
    assert shown["type"] == "BOOKMARK"
    metadata = cast("JsonObject", cast("JsonObject", shown["object"])["metadata"])
    assert metadata["resourceVersion"] == options["listOptions__resourceVersion"]
    assert cast("JsonObject", end["error"])["message"] == "EOF"
    filtered = list(frames(argo, fields="result.type,result.object.metadata.name", **options))
    assert filtered == [{}]  # the filter names no error, so the real server sends none of it


def test_a_finished_workflow_goes_when_its_time_to_be_kept_is_over(settings: ArgoSandboxSettings) -> None:
    settings = settings.model_copy(update={"archive": False})  # a list would show what is there too
    short = settings.model_copy(update={"keep": timedelta(seconds=2)})
    with serve(short) as argo:
        kept = argo.run(workflow("kept", "main", shell("main", "echo"), ttlStrategy={"secondsAfterCompletion": 600}))
        gone = argo.run(workflow("gone", "main", shell("main", "echo")))
        pods = settings.data_dir / "pods"
        assert {folder.name for folder in pods.iterdir()} == {uid_of(kept), uid_of(gone)}
        until(lambda: set(phases(argo)) == {"kept"})
        until(lambda: {folder.name for folder in pods.iterdir()} == {uid_of(kept)})
    with serve(settings) as argo:
        argo.run(workflow("stays", "main", shell("main", "echo")))
    (settings.data_dir / "pods" / "left-by-a-kill").mkdir()
    with serve(settings.model_copy(update={"keep": timedelta(0)})) as argo:
        until(lambda: set(phases(argo)) == {"kept"})
        until(lambda: {folder.name for folder in pods.iterdir()} == {uid_of(kept)})


def uid_of(body: JsonObject) -> str:
    return str(cast("JsonObject", body["metadata"])["uid"])


def test_pods_wait_in_the_order_they_came(settings: ArgoSandboxSettings) -> None:
    order = settings.data_dir.parent / "order"
    with serve(settings.model_copy(update={"max_concurrent_pods": 1})) as argo:
        argo.create(workflow("first", "main", shell("main", f"while ! test -e {order}; do sleep 0.05; done")))
        argo.until("first", lambda status: status.get("phase") == "Running")
        for number in range(8):
            argo.create(workflow(f"wf-{number}", "main", shell("main", f"echo {number} >> {order}")))
        argo.put("wf-3", "terminate")  # one that waits can be ended, and holds up nobody
        argo.finished("wf-3", "Failed")
        order.touch()
        argo.finished("wf-7", "Succeeded")
    assert order.read_text().split() == ["0", "1", "2", "4", "5", "6", "7"]


def test_what_happens_while_a_watch_sends_what_exists_comes_after_it(
    argo: Argo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meta.sandbox.argo.api.watch._SLICE", 1)
    for number in range(60):  # more than fits into the buffers of a connection
        held = workflow(f"held-{number}", "main", shell("main", "true"), suspend=True)
        cast("JsonObject", held["metadata"])["annotations"] = {"padding": "x" * 200_000}
        argo.create(held)
    parts = urlsplit(argo.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as slow:
        slow.sendall(b"GET /api/v1/workflow-events/argo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(4) == b"HTTP"
        argo.create(workflow("late", "main", shell("main", "true"), suspend=True))
        received, deadline = b"", time.monotonic() + 30
        slow.settimeout(30)
        while b'"name":"late"' not in received:
            assert time.monotonic() < deadline, "the event is lost"
            received = received[-100:] + slow.recv(1 << 20)
