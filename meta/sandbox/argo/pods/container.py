"""One container as a process: its output into a log, its end as kubelet writes it into a pod's status."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from meta.processes import GuardedProcess, spawn
from meta.sandbox.argo.pods.command import Command
from meta.sandbox.argo.pods.logs import PodLog

RESULT_LIMIT = 256 * 1024
EXECUTOR_FAILED = 64  # argoexec's exit code
KILLED = (137, 143)  # by SIGKILL or SIGTERM
GRACE_S = 5.0
_PIPE_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container terminated."""

    code: int
    reason: str = "Error"
    detail: str = ""

    @property
    def message(self) -> str:
        """As a node shows it (inferFailedReason), after the container's name."""
        return f"{self.reason} (exit code {self.code}){f': {self.detail}' if self.detail else ''}"


def missing_program(command: Command) -> Ending | None:
    """The end of a container whose program is not there, as the emissary executor finds it."""
    program = command.argv[0]
    if shutil.which(program, path=command.env["PATH"]) is not None:
        return None
    detail = f'failed to find name in PATH: exec: "{program}": executable file not found in $PATH'
    return Ending(EXECUTOR_FAILED, detail=detail)


@asynccontextmanager
async def running(command: Command, log: PodLog, stdout: bytearray | None = None) -> AsyncGenerator[GuardedProcess]:
    """Run a container's process while the block lasts, and end it there.

    Args:
        command: its program, which exists.
        log: gets its output.
        stdout: gets the last part of its standard output.
    """
    async with _pipe() as (out, out_end), _pipe() as (err, err_end):
        try:
            process = await spawn(
                command.argv, env=command.env, cwd=command.cwd, stdout=out_end, stderr=err_end,
                confinement=command.confinement,
            )  # fmt: skip
        finally:
            os.close(out_end)
            os.close(err_end)
        copies = asyncio.gather(log.drain(out, stdout, RESULT_LIMIT), log.drain(err))
        try:
            yield process
            await process.stop(GRACE_S)
            # A process that left the group can still hold a pipe; the pod does not wait for it
            await asyncio.wait([copies], timeout=_PIPE_GRACE_S)
        except BaseException:  # the deadline, a shutdown, the server's end: no process outlives its pod
            await process.stop(GRACE_S)
            raise
        finally:
            copies.cancel()
            await asyncio.gather(copies, return_exceptions=True)


def ending_of(process: GuardedProcess, code: int) -> Ending:
    """The end of a process that has been waited for."""
    code = code if code >= 0 else 128 - code  # the guard itself was killed, with its whole group
    return Ending(code, "OOMKilled" if process.out_of_memory else "Error" if code else "Completed")


@asynccontextmanager
async def _pipe() -> AsyncGenerator[tuple[asyncio.StreamReader, int]]:
    """A pipe of our own: asyncio's PIPE makes `wait` last until every grandchild has closed it."""
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        yield reader, write_end
    finally:
        transport.close()
