"""Running a stack as a process: in the foreground until a signal, in the background, and stopping one.

A stack in the background is the same command in the foreground, in a session of its own. It tells its parent through
a pipe how far it is: one JSON object a line, `{"event": ...}` while it starts, then `{"ready": addresses}` or
`{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from meta.stack.addresses import Addresses
from meta.stack.embedded import EmbeddedStack
from meta.stack.events import EventKind, Listener, StackEvent
from meta.stack.leftovers import end_leftovers, is_alive
from meta.stack.logs import Logs
from meta.stack.names import PartName
from meta.stack.options import StackOptions
from meta.stack.state import DataFolder, StackPhase
from workflows.errors import HostError, MetaError

STOP_TIMEOUT_S = 60.0
_LAST_WORDS_S = 5.0
_SUPERVISOR_LOG = "supervisor"


async def run_foreground(options: StackOptions, ready: Callable[[Addresses], None]) -> bool:
    """Run a stack until SIGTERM, SIGINT or SIGHUP, then stop it; a second signal ends everything at once.

    Args:
        options: what to start.
        ready: called once all parts answer.

    Returns:
        False when a signal came before the stack was ready.

    Raises:
        HostError: and its kinds, as `EmbeddedStack`.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if asked.is_set():
            os._exit(130)  # the guards see our end and kill what is left
        asked.set()

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signum, on_signal)
    stack = EmbeddedStack(options)
    entering, stopping = asyncio.create_task(stack.__aenter__()), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({entering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not entering.done():
            entering.cancel()  # it stops what it has started
            await asyncio.gather(entering, return_exceptions=True)
            return False
        await entering
        try:
            ready(stack.addresses)
            await stopping
        finally:
            await stack.__aexit__(None, None, None)
        return True
    finally:
        stopping.cancel()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(signum)


class Reporter:
    """The background side of the pipe.

    Args:
        descriptor: its write end; closed after the last word.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        os.set_inheritable(descriptor, False)

    def event(self, event: StackEvent) -> None:
        self._write({"event": {"kind": event.kind, "part": event.part, "text": event.text}})

    def ready(self, addresses: Addresses) -> None:
        self._write({"ready": addresses.as_dict()})
        self.close()

    def error(self, error: MetaError) -> None:
        self._write({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, line: dict[str, object]) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # the parent has gone: the stack starts all the same
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")


def run_detached(arguments: Sequence[str], folder: DataFolder, listener: Listener) -> Addresses:
    """Start `meta up` in the background and wait until all is ready.

    Args:
        arguments: of `meta up`, without `--detach`.
        folder: the data folder that they name.
        listener: told of what happens until then.

    Raises:
        MetaError: it did not start; with the code, the message and the hint of the background process.
    """
    folder.make()
    logs = Logs(folder.folder / "logs")
    logs.turn_over(_SUPERVISOR_LOG)
    read_end, write_end = os.pipe()
    with logs.open(_SUPERVISOR_LOG) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "meta.stack", "up", "--report-fd", str(write_end), *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_end,), start_new_session=True,
        )  # fmt: skip
    os.close(write_end)
    try:
        with os.fdopen(read_end, encoding="utf-8") as lines:
            for line in lines:
                if addresses := _heard(line, listener):
                    process.returncode = 0  # it lives on without us: no warning that it was left behind
                    return addresses
    except KeyboardInterrupt:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
        raise
    process.wait()
    raise HostError(
        f"the stack ended while it started (exit code {process.returncode}); the end of {logs.file(_SUPERVISOR_LOG)}:\n"
        + logs.tail(_SUPERVISOR_LOG),
        hint="`meta doctor` looks at each part",
    )


def stop(folder: DataFolder, timeout: float = STOP_TIMEOUT_S) -> bool:
    """Stop the stack of a data folder and wait until it is gone; what an earlier life left is ended too.

    Args:
        folder: where the stack is.
        timeout: seconds, after which it is killed.

    Returns:
        False when none was running.

    Raises:
        DataDirBroken: stack.json cannot be read.
        HostError: it could not be stopped.
    """
    state = folder.load()
    if not folder.is_locked():
        left = end_leftovers(state)
        if state.phase is not StackPhase.STOPPED and folder.state_file.exists():
            state.phase, state.supervisor = StackPhase.STOPPED, None
            folder.save(state)
        return bool(left)
    if state.supervisor is None or not is_alive(state.supervisor):
        if folder.wait_unlocked(5.0):  # it was just ending
            return True
        raise HostError(
            f"a process holds {folder.folder / 'stack.lock'}, but stack.json names no supervisor that runs",
            hint="end the process whose number stands in the file stack.lock",
        )
    pid = state.supervisor.pid
    with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
        os.kill(pid, signal.SIGTERM)
    if not folder.wait_unlocked(timeout):
        os.kill(pid, signal.SIGKILL)
        if not folder.wait_unlocked(10.0):
            raise HostError(f"the supervisor (pid {pid}) cannot be stopped", hint=f"look at it: ps -fp {pid}")
        end_leftovers(folder.load())
    end = time.monotonic() + _LAST_WORDS_S
    while is_alive(state.supervisor) and time.monotonic() < end:  # the lock goes a moment before the process
        time.sleep(0.02)
    return True


def _heard(line: str, listener: Listener) -> Addresses | None:
    said = cast("dict[str, dict[str, str]]", json.loads(line))
    if event := said.get("event"):
        listener(StackEvent(EventKind(event["kind"]), PartName(event["part"]), event["text"]))
    if error := said.get("error"):
        kinds = {kind.code: kind for kind in _kinds(HostError)}
        raise kinds.get(error["code"], HostError)(error["message"], hint=error["hint"])
    if ready := said.get("ready"):
        return Addresses(**ready)
    return None


def _kinds(kind: type[MetaError]) -> list[type[MetaError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _kinds(child))]


def supervisor_log(folder: Path) -> Path:
    """Where a stack in the background writes."""
    return Logs(folder / "logs").file(_SUPERVISOR_LOG)
