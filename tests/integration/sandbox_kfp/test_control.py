"""Terminate, retry, the queue, delete; and what a restart of the server finds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from meta.sandbox.environments import EnvironmentCache
from meta.sandbox.kfp.runs import STARTING
from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.conftest import MakeServer
from tests.integration.sandbox_kfp.support import Server, stop, wait_until
from tests.support.objects import ObjectServer
from workers.engines.kfp.proto import metadata_store_pb2 as pb


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def held(folder: Path, name: str = "hold") -> list[int]:
    """The processes of a holding run, once they are there."""
    file = folder / f"{name}.pids"
    wait_until(file.exists, f"{file}")
    pids = [int(word) for word in file.read_text().split()]
    assert all(alive(pid) for pid in pids)
    return pids


def gone(pids: list[int]) -> None:
    wait_until(lambda: not any(alive(pid) for pid in pids), f"an end of the processes {pids}", 10)


def test_terminate_ends_the_processes_and_lands_as_failed(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    pids = held(tmp_path)
    assert server.call("POST", f"runs/{run_id}:terminate") == (200, {})
    run = server.wait(run_id)
    assert run["state"] == "FAILED"  # the real backend knows no other end
    gone(pids)
    assert run["finished_at"] != "1970-01-01T00:00:00Z"
    assert run["error"]["message"] == "terminated on request"
    states = {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}
    assert states["hold"] == states["root"] == "FAILED"

    status, body = server.call("POST", f"runs/{run_id}:terminate")
    assert (status, body["code"]) == (400, 3)
    assert f"Failed to terminate a run {run_id}. Row not found" in body["message"]


def test_retry_in_place_keeps_what_had_succeeded(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("needing"), {"folder": str(tmp_path)})
    run = server.wait(run_id)
    assert run["state"] == "FAILED"
    assert "need" in run["error"]["message"] and "ValueError: not repaired, counted 1" in run["error"]["message"]
    failed = next(node for node in run["run_details"]["task_details"] if node["display_name"] == "need")
    assert "ValueError: not repaired, counted 1" in failed["error"]["message"]
    assert server.executions(run_id)["need"].last_known_state == pb.Execution.FAILED
    before = server.executions(run_id)["count"].id

    (tmp_path / "repaired").touch()
    assert server.call("POST", f"runs/{run_id}:retry") == (200, {})
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    assert "error" not in run
    assert (tmp_path / "count").read_text() == "x"  # without a cache, and yet not counted again
    assert [entry["state"] for entry in run["state_history"]] == [
        "PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    assert server.executions(run_id)["count"].id == before
    assert server.executions(run_id)["need"].last_known_state == pb.Execution.COMPLETE

    status, body = server.call("POST", f"runs/{run_id}:retry")
    assert (status, body["code"]) == (500, 13)  # as Argo's refusal comes through the real server
    assert "workflow must be Failed/Error to retry" in body["message"]


def test_a_run_in_progress_cannot_be_retried(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    held(tmp_path)
    status, body = server.call("POST", f"runs/{run_id}:retry")
    assert (status, body["code"]) == (409, 10)
    (tmp_path / "go").touch()
    assert server.wait(run_id)["state"] == "SUCCEEDED"


def test_more_runs_than_places_wait_as_pending_and_can_be_terminated_there(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server("--max-concurrent-runs", "1")
    spec = pipelines.spec("holding")
    first, second, third = (server.submit(spec, {"folder": str(tmp_path)}, name=name) for name in ("1", "2", "3"))
    held(tmp_path)
    assert [server.get(run)["state"] for run in (first, second, third)] == ["RUNNING", "PENDING", "PENDING"]
    server.call("POST", f"runs/{second}:terminate")
    assert server.get(second)["state"] == "FAILED"
    (tmp_path / "go").touch()
    assert server.wait(first)["state"] == "SUCCEEDED"
    assert server.wait(third)["state"] == "SUCCEEDED"
    assert [entry["state"] for entry in server.get(second)["state_history"]] == ["PENDING", "FAILED"]


@pytest.mark.prove
def test_two_hundred_runs_wait_cheaply_in_the_order_they_came(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("--max-concurrent-runs", "2")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    holding = [server.submit(pipelines.spec("holding"), {"folder": str(tmp_path / name)}) for name in ("one", "two")]
    for name in ("one", "two"):
        held(tmp_path / name)
    before = resident_mb(server)
    waiting = [server.submit(pipelines.spec("talking"), name=f"run-{number}") for number in range(200)]
    assert resident_mb(server) - before < 40
    states = '{"predicates": [{"operation": "EQUALS", "key": "state", "string_value": "PENDING"}]}'
    assert server.call("GET", "runs", filter=states, page_size="1")[1]["total_size"] == 200
    for run_id in waiting[2:]:
        assert server.call("POST", f"runs/{run_id}:terminate") == (200, {})
    assert server.call("POST", f"runs/{holding[0]}:terminate") == (200, {})
    first, second = (server.wait(run_id) for run_id in waiting[:2])
    assert first["state"] == second["state"] == "SUCCEEDED"
    assert first["finished_at"] <= second["state_history"][1]["update_time"]  # one place, one after the other
    assert server.get(waiting[-1])["error"]["message"] == "terminated on request"
    assert server.call("POST", f"runs/{holding[1]}:terminate") == (200, {})


def resident_mb(server: Server) -> float:
    """The server's memory; 0 where the system does not say."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def test_a_run_goes_with_its_folder_when_its_time_to_be_kept_is_over(make_server: MakeServer) -> None:
    server = make_server("--keep", "3s")
    run_id = server.submit(pipelines.spec("talking"))
    folder = server.data_dir / "runs" / run_id
    wait_until(folder.exists, f"{folder}")
    wait_until(lambda: server.call("GET", f"runs/{run_id}")[0] == 404, "an end of the run's time")
    wait_until(lambda: not folder.exists(), "an end of its folder")


def test_a_run_that_may_have_begun_is_not_begun_again(make_server: MakeServer, tmp_path: Path) -> None:
    """Killed between the start of a process and the word of it: the run is PENDING, and yet its work may be done."""
    server = make_server("--max-concurrent-runs", "1")
    server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    held(tmp_path)
    begun, waiting = (server.submit(pipelines.spec("talking"), name=name) for name in ("begun", "waiting"))
    server.kill()
    with contextlib.closing(sqlite3.connect(server.data_dir / "kfp.sqlite")) as database, database:
        database.execute("UPDATE runs SET pgid_started = ? WHERE id = ?", (STARTING, begun))
    server.start()
    run = server.get(begun)
    assert (run["state"], run["error"]["message"][:24]) == ("FAILED", "the sandbox server ended")
    assert server.wait(waiting)["state"] == "SUCCEEDED"


def test_delete_ends_a_run_and_forgets_it_but_not_its_metadata(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    pids = held(tmp_path)
    assert server.call("DELETE", f"runs/{run_id}") == (200, {})
    gone(pids)
    assert not (server.data_dir / "runs" / run_id).exists()
    status, body = server.call("GET", f"runs/{run_id}")
    assert (status, body["code"]) == (404, 5)
    assert body["message"] == f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found"
    assert "hold" in server.executions(run_id)


def test_archive_hides_nothing_but_marks(server: Server, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    run_id = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)})
    server.wait(run_id)
    assert server.call("POST", f"runs/{run_id}:archive") == (200, {})
    assert server.get(run_id)["storage_state"] == "ARCHIVED"
    assert server.call("POST", f"runs/{run_id}:unarchive") == (200, {})
    assert server.get(run_id)["storage_state"] == "AVAILABLE"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_serves_what_had_ended_fails_what_had_not_and_starts_what_waited(
    make_server: MakeServer, objects: ObjectServer, tmp_path: Path, sign: signal.Signals
) -> None:
    server = make_server("--max-concurrent-runs", "1")
    uri = objects.put("restart/data.txt", b"restarted images")
    training = pipelines.spec("train_and_evaluate")
    ended = server.submit(training, {"dataset": uri}, name="ended")
    before = server.wait(ended)
    metadata = server.executions(ended)
    held_run = server.submit(pipelines.spec("holding"), {"folder": str(tmp_path)}, name="held")
    waiting = server.submit(training, {"dataset": uri}, name="waiting")
    pids = held(tmp_path)

    assert server.process is not None
    stop(server.process, sign)
    gone(pids)
    server.start()

    assert server.get(ended) == before
    assert server.executions(ended) == metadata
    run = server.get(held_run)
    assert run["state"] == "FAILED"
    assert "the sandbox server ended while the run was in progress" in run["error"]["message"]
    states = {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}
    assert states["hold"] == "FAILED"
    assert server.wait(waiting)["state"] == "SUCCEEDED"
    assert server.executions(waiting)["train"].last_known_state == pb.Execution.CACHED  # of before the restart

    (tmp_path / "go").touch()
    assert server.call("POST", f"runs/{held_run}:retry") == (200, {})
    assert server.wait(held_run)["state"] == "SUCCEEDED"


async def test_a_run_whose_environment_is_being_made_is_pending_and_survives_a_restart(
    make_server: MakeServer, tmp_path: Path
) -> None:
    (tmp_path / "tools.txt").write_text("# nothing\n", encoding="utf-8")
    table = tmp_path / "images.toml"
    table.write_text('[images."example/tools:1"]\nrequirements = "tools.txt"\n', encoding="utf-8")
    name = (await EnvironmentCache(tmp_path / "elsewhere").prepare(tmp_path / "tools.txt")).name
    environments = tmp_path / "environments"
    environments.mkdir()
    with (environments / f"{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that makes it, slowly
        server = make_server("--images", str(table), "--environments", str(environments))
        ended, kept = (server.submit(pipelines.spec("two_images"), name=word) for word in ("ended", "kept"))
        assert server.call("POST", f"runs/{ended}:terminate") == (200, {})
        assert server.wait(ended, 10)["error"]["message"] == "terminated on request"
        assert server.stop() == 0
        server.start()
        assert server.get(kept)["state"] == "PENDING"
    run = server.wait(kept)
    assert [entry["state"] for entry in run["state_history"]] == ["PENDING", "FAILED"]
    assert "has no kfp" in run["error"]["message"]


def test_sigterm_is_a_clean_end(make_server: MakeServer) -> None:
    server = make_server()
    assert server.stop() == 0
    assert "Traceback" not in (server.data_dir.parent / "server.log").read_text()
