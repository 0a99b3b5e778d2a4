from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from meta.processes import Confinement, spawn
from tests.integration.stack.conftest import is_gone, until, wait_until


def number_in(file: Path) -> int:
    return int(file.read_text().strip() or "0") if file.exists() else 0


async def test_the_exit_code_is_the_childs(tmp_path: Path) -> None:
    assert await (await spawn(["sh", "-c", "exit 7"])).wait() == 7
    assert await (await spawn(["sh", "-c", "kill -9 $$"])).wait() == 128 + signal.SIGKILL
    with (tmp_path / "err").open("wb") as err:
        assert await (await spawn(["no-such-program"], stderr=err)).wait() == 127
    assert "no-such-program: No such file or directory" in (tmp_path / "err").read_text()


async def test_the_child_is_known_by_its_own_number(tmp_path: Path) -> None:
    process = await spawn(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"])
    await until(lambda: bool(number_in(tmp_path / "pid")), "the child has written its number")
    assert process.pid == number_in(tmp_path / "pid")
    assert process.pgid != process.pid
    process.signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: is_gone(process.pid), "the child has ended")


async def test_what_a_child_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    process = await spawn(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; exit 0"])
    assert await process.wait() == 0
    await until(lambda: is_gone(number_in(tmp_path / "pid")), "the grandchild has ended")


DAEMON = "setsid sh -c 'echo $$ > {file}; trap \"\" TERM; sleep 60 & wait; sleep 60' & "
linux = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux only")


@linux
@pytest.mark.parametrize("ending", ["exit", "stop", "memory"])
async def test_a_confined_child_takes_its_daemons_with_it(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "daemon"
    runs = f"while ! test -s {file}; do sleep 0.01; done; "
    grow = f"{sys.executable} -I -S -c 'import time; held = bytes([1]) * 200 * 1024**2; time.sleep(60)'"
    then = {"exit": runs, "stop": "trap '' TERM; wait", "memory": runs + grow}
    limit = 100 * 1024**2 if ending == "memory" else None
    process = await spawn(
        ["sh", "-c", DAEMON.format(file=file) + then[ending]], confinement=Confinement(memory_bytes=limit)
    )
    if ending == "stop":
        await until(lambda: bool(number_in(file)), "the daemon runs")
        await process.stop(grace_s=0.1)
    await process.wait()
    await until(lambda: is_gone(number_in(file)), "the daemon has ended")
    assert process.out_of_memory is (ending == "memory")


@linux
async def test_a_child_that_holds_more_memory_than_allowed_is_killed_and_another_is_not() -> None:
    hold = "import time\nheld = b'x' * {}\ntime.sleep(0.5)\n"
    limits = Confinement(memory_bytes=100 * 1024**2)
    for size_mb, code in ((20, 0), (200, 128 + signal.SIGKILL)):
        process = await spawn([sys.executable, "-I", "-c", hold.format(size_mb * 1024**2)], confinement=limits)
        assert await process.wait() == code
        assert process.out_of_memory is (code != 0)


@linux
async def test_a_child_with_one_core_sees_one_core(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        command = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
        await (await spawn(command, stdout=out, confinement=Confinement(cores=1))).wait()
    assert (tmp_path / "out").read_text() == "1\n"


async def test_a_child_is_not_deaf_to_broken_pipes(tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as err:
        await (await spawn(["sh", "-c", "yes | head -n 1 > /dev/null"], stderr=err)).wait()
    assert (tmp_path / "err").read_text() == "", "as in a shell: yes ends by SIGPIPE, without a word"


async def test_stopping_is_gentle_first_and_then_is_not(tmp_path: Path) -> None:
    said = tmp_path / "said"
    gentle = await spawn(["sh", "-c", f"trap 'echo term > {said}; exit 3' TERM; echo up > {said}; sleep 60 & wait"])
    await until(lambda: said.exists() and said.read_text() == "up\n", "the trap is set")
    assert await gentle.stop() == 3
    assert said.read_text() == "term\n"
    stubborn = await spawn(["sh", "-c", f"trap '' TERM; echo deaf > {said}; while :; do sleep 1; done"])
    await until(lambda: said.read_text() == "deaf\n", "the trap is set")
    assert await stubborn.stop(grace_s=0.2) == -signal.SIGKILL
    await until(lambda: is_gone(stubborn.pid), "the child has ended")


async def test_a_signal_at_the_earliest_moment_ends_the_child_too() -> None:
    for _ in range(10):
        process = await spawn(["sleep", "60"])
        await process.stop(grace_s=5)
        assert is_gone(process.pid)


async def test_a_cancelled_spawn_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    for delay_ms in range(0, 40, 8):
        task = asyncio.create_task(spawn(["sh", "-c", f"echo $$ > {file}; exec sleep 60"]))
        await asyncio.sleep(delay_ms / 1000)  # the delay is what varies: before, in, and after the guard's own start
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, BaseException):
            await result.stop(0)
        await until(lambda: not file.exists() or is_gone(number_in(file)), "the child has ended")


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_grandchildren_end_when_their_parent_is_killed(tmp_path: Path, sig: signal.Signals) -> None:
    script = f"""
import asyncio
from meta.processes import spawn
async def main():
    await spawn(["sh", "-c", "sleep 60 & echo $! > {tmp_path}/grandchild; echo $$ > {tmp_path}/child; wait"])
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = os.posix_spawn(sys.executable, [sys.executable, "-c", script], os.environ)
    names = ("grandchild", "child")
    wait_until(lambda: all(number_in(tmp_path / name) for name in names), "both have started")
    os.kill(parent, sig)
    os.waitpid(parent, 0)
    wait_until(lambda: all(is_gone(number_in(tmp_path / name)) for name in names), "both have ended")
