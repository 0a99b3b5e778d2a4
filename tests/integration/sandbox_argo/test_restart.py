"""The server killed and started again in the middle of runs."""

from __future__ import annotations

from typing import cast

from pydantic import JsonValue

from meta.processes import start_mark
from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.store import ProcessRecord, Store
from tests.integration.sandbox_argo.conftest import (
    Argo,
    alive,
    nodes_of,
    serve,
    server_process,
    shell,
    until,
    workflow,
)
from tests.support.ports import free_port

DAG: list[JsonValue] = [
    {"name": "first", "template": "quick"},
    {"name": "second", "template": "slow", "dependencies": ["first"]},
    {"name": "third", "template": "quick", "dependencies": ["second"]},
]


def manifest(name: str, slow: JsonObject) -> JsonObject:
    return workflow(name, "main", {"name": "main", "dag": {"tasks": DAG}}, shell("quick", "true"), slow)


def running_pid(argo: Argo, name: str) -> int:
    """The process that the task `second` says it is."""
    argo.until(name, lambda status: status.get("progress") == "1/2")
    until(lambda: any(line.isdigit() for line in argo.logs(name)))
    return int(next(line for line in argo.logs(name) if line.isdigit()))


def test_a_killed_server_fails_what_ran_truthfully_and_goes_on_with_the_rest(settings: ArgoSandboxSettings) -> None:
    port = free_port()
    flag = settings.data_dir.parent / "flag"
    slow = f"echo $$; test -e {flag} || sleep 300"
    with server_process(settings, port) as server:
        server.argo.run(manifest("done", shell("slow", "true")))
        before = server.argo.get("done")
        retried = {"limit": "2", "retryPolicy": "Always"}
        server.argo.create(manifest("lost", shell("slow", slow)))
        server.argo.create(manifest("saved", shell("slow", slow, retryStrategy=retried)))
        pids = [running_pid(server.argo, name) for name in ("lost", "saved")]
        assert all(alive(pid) for pid in pids)
        server.kill()
    until(lambda: not any(alive(pid) for pid in pids), seconds=5)  # ended with the server, not by the next start
    flag.write_text("")
    with server_process(settings, port) as server:
        assert server.argo.get("done") == before
        lost = server.argo.finished("lost")
        nodes = nodes_of(lost)
        assert (nodes["second"]["phase"], nodes["second"]["message"]) == ("Error", "pod deleted")
        assert nodes["first"]["phase"] == "Succeeded"
        assert nodes["third"]["phase"] == "Omitted"
        assert cast("JsonObject", lost["status"])["phase"] == "Error"
        saved = nodes_of(server.argo.finished("saved", "Succeeded"))
        assert saved["second(0)"]["message"] == "pod deleted"
        assert saved["second(1)"]["phase"] == saved["third"]["phase"] == "Succeeded"
        assert server.argo.put("lost", "retry")[0] == 200
        server.argo.finished("lost", "Succeeded")


def test_a_terminated_server_ends_its_processes_and_leaves_with_zero(settings: ArgoSandboxSettings) -> None:
    with server_process(settings, free_port()) as server:
        server.argo.create(manifest("cut", shell("slow", "echo $$; sleep 300")))
        pid = running_pid(server.argo, "cut")
        server.process.terminate()
        assert server.process.wait(20) == 0
    assert not alive(pid)
    with serve(settings) as argo:
        assert nodes_of(argo.finished("cut", "Error"))["second"]["message"] == "pod deleted"


async def test_a_leftover_process_group_is_killed_at_the_start_and_a_strangers_is_not(
    settings: ArgoSandboxSettings,
) -> None:
    from meta.processes import spawn

    left, stranger = await spawn(["sleep", "300"]), await spawn(["sleep", "300"])
    try:
        settings.data_dir.mkdir(parents=True)
        store = Store(settings.data_dir / "argo.db")
        store.record_process(ProcessRecord("u", "left", left.pgid, start_mark(left.pgid)))
        store.record_process(ProcessRecord("u", "stranger", stranger.pgid, "another boot 123"))
        store.close()
        with serve(settings):
            await left.wait()
            assert stranger.returncode is None
    finally:
        await left.stop(0)
        await stranger.stop(0)


def test_a_pod_that_may_have_begun_is_not_begun_again(settings: ArgoSandboxSettings) -> None:
    """Killed between the start of a process and the word of it: the node is Pending, and yet its work may be done."""
    with serve(settings.model_copy(update={"max_concurrent_pods": 1})) as argo:
        argo.create(workflow("busy", "main", shell("main", "echo $$; sleep 300")))
        argo.until("busy", lambda status: status.get("phase") == "Running")
        argo.create(workflow("next", "main", shell("main", "true")))
        argo.create(workflow("also", "main", shell("main", "true")))
        argo.until("also", lambda status: bool(status.get("nodes")))
    store = Store(settings.data_dir / "argo.db")
    begun = store.get("argo", "next")
    assert begun is not None
    store.record_process(ProcessRecord(begun.metadata.uid, "next", 0, ""))
    store.close()
    with serve(settings) as argo:
        assert nodes_of(argo.finished("next", "Error"))["next"]["message"] == "pod deleted"
        argo.finished("also", "Succeeded")  # it had not begun, so it runs now
