from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from meta.stack.names import PartName
from meta.stack.ports import HOST
from tests.integration.stack.conftest import Command, is_gone, pids_of, wait_until

KEYS = {
    "temporal", "temporal_ui", "nats", "s3", "grpc", "argo", "kfp", "kfp_metadata", "data_dir", "config",
    "service_metrics", "worker_metrics",
}  # fmt: skip


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_up_prints_one_object_of_addresses_and_a_signal_leaves_no_orphan(meta: Command, sig: signal.Signals) -> None:
    process, addresses = meta.up("--part", "temporal", "--part", "s3")
    assert set(addresses) == KEYS
    assert addresses["data_dir"] == str(meta.folder)
    assert addresses["config"] == str(meta.folder / "meta.toml")
    pids = pids_of(meta.state())
    assert len(pids) == 4
    process.send_signal(sig)
    out, _ = process.communicate(timeout=30)
    assert out == "", "the addresses are all that goes to standard output"
    assert process.returncode == 0
    assert all(map(is_gone, pids))


def test_killing_the_supervisor_ends_its_children_and_the_next_start_finds_everything_where_it_was(
    meta: Command,
) -> None:
    process, first = meta.up("--part", "temporal", "--part", "nats", "--part", "s3")
    pids = pids_of(meta.state())
    process.kill()
    process.communicate()
    wait_until(lambda: all(map(is_gone, pids)), "the children end with their supervisor", 10)
    assert not meta.data.is_locked()
    process, second = meta.up("--part", "temporal", "--part", "nats", "--part", "s3")
    assert second == first


def test_children_that_outlived_supervisor_and_guards_are_ended_by_the_next_start(meta: Command) -> None:
    process, _ = meta.up("--part", "nats")
    part = meta.state().parts[PartName.NATS]
    assert part.group is not None
    os.kill(part.group.pid, signal.SIGSTOP)  # the guard cannot act any more
    process.kill()
    process.communicate()
    os.kill(part.group.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(part.group.pid) if part.group else False, "the guard has ended")
    assert not is_gone(part.pid), "the server lives on alone: the case that this test is about"
    meta.up("--part", "nats")  # at the same port, unless another process has taken it meanwhile
    assert is_gone(part.pid)


def test_a_signal_during_the_start_stops_what_was_started(meta: Command) -> None:
    process = meta.start("up", "--part", "temporal", "--part", "s3")
    wait_until(lambda: meta.folder.joinpath("stack.json").exists() and bool(pids_of(meta.state())), "a first process")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not pids_of(meta.state())
    assert meta.state().phase == "stopped"


def test_a_stack_in_the_background_is_shown_and_stopped(meta: Command) -> None:
    started = meta.run("up", "--part", "nats", "--detach", "--output", "json")
    assert started.returncode == 0, started.stderr
    addresses = json.loads(started.stdout)
    assert set(addresses) == KEYS
    shown = meta.run("status", "--output", "json")
    assert shown.returncode == 0
    status = json.loads(shown.stdout)
    assert status["phase"] == "ready"
    nats = status["parts"]["nats"]
    assert (nats["state"], nats["restarts"], nats["address"]) == ("ready", 0, addresses["nats"])
    assert not is_gone(nats["pid"])
    down = meta.run("down")
    assert (down.returncode, down.stdout.strip()) == (0, "stopped")
    assert is_gone(nats["pid"])
    assert is_gone(status["pid"])
    again = meta.run("down")
    assert (again.returncode, again.stdout[:19]) == (0, "no stack is running")


def test_status_shows_a_part_that_was_killed_and_started_again(meta: Command) -> None:
    meta.up("--part", "nats")
    os.kill(meta.state().parts[PartName.NATS].pid, signal.SIGKILL)
    wait_until(lambda: meta.state().parts[PartName.NATS].restarts == 1, "the restart is noted")
    wait_until(meta.all_ready, "it is ready again")
    assert json.loads(meta.run("status", "--output", "json").stdout)["parts"]["nats"]["restarts"] == 1


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_taken_port_is_said_in_plain_words(meta: Command, detach: list[str]) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = str(stranger.getsockname()[1])
        result = meta.run("up", "--part", "nats", "--port-nats", port, *detach)
    assert result.returncode == 1
    assert f"error: port {port}, asked for nats, is taken by" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_usage_has_an_exit_code_of_its_own(meta: Command) -> None:
    assert meta.run("up", "--port-nats", "70000").returncode == 2


@pytest.mark.parametrize("command", ["up", "status"])
def test_a_broken_data_folder_is_said_in_plain_words(meta: Command, command: str) -> None:
    meta.folder.mkdir()
    Path(meta.folder, "stack.json").write_text("{")
    result = meta.run(command)
    assert result.returncode == 1
    assert "error: " in result.stderr
    assert "stack.json is damaged" in result.stderr
    Path(meta.folder, "stack.json").unlink()
