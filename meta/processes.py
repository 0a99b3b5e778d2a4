"""Child processes that never outlive their parent, whatever kills it.

Every child runs under a small guard (`meta/guard.py`), which leads a process group of its own and holds one end
of a socket pair. The kernel closes the other end when the parent dies, by any signal; the guard then kills its whole
group, grandchildren included. It works wherever there are sockets and process groups, so on macOS too, where Linux's
parent-death signal does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PROC = Path("/proc")
GUARD = Path(__file__).with_name("guard.py")
_GUARD_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a child and all below it may use. Linux only; elsewhere the settings do nothing.

    Processes that leave the group, as daemons do, end with the child too.

    Attributes:
        memory_bytes: resident memory of all together, looked at ten times a second; above it they are killed.
        cores: of the machine's cores they may run on that many.
    """

    memory_bytes: int | None = None
    cores: int | None = None

    def options(self) -> str:
        values = {"memory": self.memory_bytes, "cores": self.cores}
        return "".join([",reap", *(f",{key}={value}" for key, value in values.items() if value is not None)])


@dataclass(slots=True)
class GuardedProcess:
    """A running child and its process group.

    Attributes:
        process: the guard; it exits with the child's exit code (128 + signal when a signal ended the child).
        pgid: the process group that holds the guard, the child and all that the child started.
        pid: the child itself; 0 when the guard was ended before it had started one.
        out_of_memory: whether the guard ended the child because of its `Confinement`; known after `wait`.
    """

    process: asyncio.subprocess.Process
    pgid: int
    pid: int
    _lifeline: int  # a bare descriptor: dropping the handle does not end the child, only our own end does
    out_of_memory: bool = field(default=False, init=False)
    _swept: bool = field(default=False, init=False)

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    async def wait(self) -> int:
        """Wait for the child to end, then make sure that nothing of its group is left.

        Returns:
            The child's exit code.
        """
        code = await self.process.wait()
        if not self._swept:  # once: later the number may be another's
            self._swept = True
            kill_group(self.pgid)
            with contextlib.suppress(BlockingIOError, ConnectionResetError):  # nothing was said
                self.out_of_memory = b"oom" in os.read(self._lifeline, 32)
            os.close(self._lifeline)
        return code

    def signal(self, sig: signal.Signals) -> None:
        """Send a signal to the child; SIGKILL, SIGSTOP and SIGCONT go to its whole group.

        A child that has ended is fine.
        """
        if self.process.returncode is not None:
            return
        if sig in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            kill_group(self.pgid, sig)
        else:
            with contextlib.suppress(ProcessLookupError):  # it ended between the look and the signal
                os.kill(self.pid, sig)

    async def stop(self, grace_s: float = 10.0) -> int:
        """Send SIGTERM to the child, wait, then SIGKILL the group if the grace is over.

        Args:
            grace_s: seconds between the two signals.

        Returns:
            The child's exit code.
        """
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended between the look and the signal
                self.process.send_signal(signal.SIGTERM)  # to the guard, which passes it on
            try:
                await asyncio.wait_for(asyncio.shield(self.process.wait()), grace_s)
            except TimeoutError:
                await self._end()
        return await self.wait()

    async def _end(self) -> None:
        """Let the guard kill all below it, also what left its group; it does so when its lifeline breaks."""
        with socket.socket(fileno=os.dup(self._lifeline)) as line, contextlib.suppress(OSError):  # it is gone already
            line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):  # a guard that is stopped cannot: then its group must do
            await asyncio.wait_for(asyncio.shield(self.process.wait()), _GUARD_GRACE_S)
        kill_group(self.pgid)


async def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    confinement: Confinement | None = None,
) -> GuardedProcess:
    """Start a command under a guard, in a process group of its own.

    Args:
        command: program and arguments.
        env: the whole environment of the child; None inherits ours.
        cwd: working directory; None is ours.
        stdout: as for `asyncio.create_subprocess_exec`.
        stderr: as for `asyncio.create_subprocess_exec`.
        confinement: what the child may use; None for whatever the machine has.

    Raises:
        FileNotFoundError: the working directory does not exist. A missing program shows as exit code 127, with the
            reason on standard error, as in a shell.
    """
    ours, theirs = socket.socketpair()  # neither is inheritable; theirs is passed on by number, ours by nobody
    ours.setblocking(False)
    lifeline = f"{theirs.fileno()}{confinement.options() if confinement else ''}"
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(GUARD), lifeline, *command,
            env=None if env is None else dict(env), cwd=cwd, stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, pass_fds=(theirs.fileno(),), start_new_session=True,
        )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        line = await _child_line(ours)
    except BaseException:  # cancelled: whoever asked for the child will never have a handle on it
        ours.close()
        kill_group(process.pid)
        await process.wait()
        raise
    return GuardedProcess(process, process.pid, int(line or b"0"), ours.detach())


async def _child_line(lifeline: socket.socket) -> bytes:
    try:
        return (await asyncio.get_running_loop().sock_recv(lifeline, 32)).strip()
    except ConnectionResetError:  # the guard ended before it wrote
        return b""


def kill_group(pgid: int, sig: signal.Signals = signal.SIGKILL) -> bool:
    """Signal a process group; a group that is gone is fine.

    Returns:
        True if the group was there.
    """
    try:
        os.killpg(pgid, sig)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so for a group of zombies
        return False
    return True


def start_mark(pid: int) -> str:
    """What tells a process from a later one with the same number: the machine's boot and the time it started.

    Returns:
        Empty when there is no such process; a zombie counts as none, because it runs nothing any more.
    """
    if _PROC.joinpath("self").exists():
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # none, or it ended while we looked
            return ""
        fields = stat.rpartition(")")[2].split()  # the program's name before it may hold anything
        return "" if fields[0] in "ZX" else f"{boot_mark()} {fields[19]}"  # clock ticks since boot: proc(5), field 22
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def boot_mark() -> str:
    """What tells this boot of the machine from others; empty where the system does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
