"""Child processes that never outlive their parent, whatever kills it.

Every child runs under a small guard (`meta/guard.py`), which leads a process group of its own and holds one end
of a pipe. The kernel closes the other end when the parent dies, by any signal; the guard then kills its whole
group, grandchildren included. It works wherever there are pipes and process groups, so on macOS too, where Linux's
parent-death signal does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")


@dataclass(slots=True)
class GuardedProcess:
    """A running child and its process group.

    Attributes:
        process: the guard; it exits with the child's exit code (128 + signal when a signal ended the child).
        pgid: the process group that holds the guard, the child and all that the child started.
    """

    process: asyncio.subprocess.Process
    pgid: int
    _lifeline: int

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    async def wait(self) -> int:
        """Wait for the child to end, then make sure that nothing of its group is left.

        Returns:
            The child's exit code.
        """
        code = await self.process.wait()
        kill_group(self.pgid)
        self._close()
        return code

    async def stop(self, grace_s: float = 10.0) -> int:
        """Send SIGTERM to the child, wait, then SIGKILL the group if the grace is over.

        Args:
            grace_s: seconds between the two signals.

        Returns:
            The child's exit code.
        """
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended between the look and the signal
                self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(self.process.wait()), grace_s)
            except TimeoutError:
                kill_group(self.pgid)
        return await self.wait()

    def _close(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


async def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> GuardedProcess:
    """Start a command under a guard, in a process group of its own.

    Args:
        command: program and arguments.
        env: the whole environment of the child; None inherits ours.
        cwd: working directory; None is ours.
        stdout: as for `asyncio.create_subprocess_exec`.
        stderr: as for `asyncio.create_subprocess_exec`.

    Raises:
        FileNotFoundError: the working directory does not exist. A missing program shows as exit code 127, with the
            reason on standard error, as in a shell.
    """
    read_end, write_end = os.pipe()  # the write end is not inheritable: only this process keeps it open
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(GUARD), str(read_end), *command,
            env=None if env is None else dict(env), cwd=cwd, stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, pass_fds=(read_end,), start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return GuardedProcess(process, process.pid, write_end)


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
