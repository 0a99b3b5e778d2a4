"""Starts the parts in the order of their needs, keeps them running, and stops them in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meta.processes import GuardedProcess, spawn
from meta.stack.events import EventKind, StackEvent
from meta.stack.files import write_private
from meta.stack.leftovers import mark
from meta.stack.logs import Logs
from meta.stack.names import PartName, PortName
from meta.stack.parts import NEEDS, Part, Plan
from meta.stack.ports import is_free
from meta.stack.probes import NotReady
from meta.stack.state import DataFolder, PartRecord, PartState, StackState
from workflows.errors import DataDirBroken, HostError

_PROBE_EVERY_S = 0.05
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 15.0
_STEADY_S = 30.0  # a part that has lived so long begins anew with the shortest wait
_PORT_TRIES = 3
_LOG_LOOK_S = 10.0
_ENDING = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT})


@dataclass(slots=True)
class _Running:
    """What is known of one part at this moment."""

    record: PartRecord
    process: GuardedProcess | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None
    at_once: bool = False  # a restart that was asked for waits for nothing


class Supervisor:
    """The parts of one stack, in one event loop.

    Args:
        plan: builds the parts.
        names: the parts, each after its needs.
        folder: locked by the caller.
        state: kept up to date and saved at every change.
        moved: called when a part had to take other ports than planned.
    """

    def __init__(
        self, plan: Plan, names: list[PartName], folder: DataFolder, state: StackState, moved: Callable[[], None]
    ) -> None:
        self._plan = plan
        self._names = names
        self._folder = folder
        self._state = state
        self._moved = moved
        self._logs = Logs(folder.folder / "logs")
        self._listener = plan.options.listener
        state.parts = {name: PartRecord() for name in names}
        self._parts = {name: _Running(state.parts[name]) for name in names}
        self._stopping = False
        self._log_keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start every part and wait until all are ready.

        Raises:
            HostError: a part did not become ready; the message holds the end of its log. What was started must then
                be stopped with `stop`.
            PortTaken: somebody took a given port meanwhile.
            BinaryMissing: a program is not installed.
        """
        self._log_keeper = asyncio.create_task(self._bound_logs())
        starts = [asyncio.create_task(self._start_after_needs(name), name=f"start {name}") for name in self._names]
        try:
            await asyncio.gather(*starts)
        finally:
            for task in starts:
                task.cancel()
            await asyncio.gather(*starts, return_exceptions=True)

    async def stop(self) -> None:
        """Stop all parts, each after those that need it."""
        self._stopping = True
        if self._log_keeper:
            self._log_keeper.cancel()
        pending = set(self._names)
        while pending:
            leaves = {name for name in pending if not any(name in NEEDS[other] for other in pending)}
            await asyncio.gather(*(self._stop_part(name) for name in leaves))
            pending -= leaves

    def kill(self, name: PartName, sig: signal.Signals) -> None:
        """Send a signal to a part's process; nothing happens when it is not running at this moment.

        After a signal that ends it the part is not ready until it has been started again.
        """
        running = self._parts[name]
        if running.process is None or running.process.returncode is not None:
            return
        if sig in _ENDING:
            running.ready.clear()
        running.process.signal(sig)

    async def restart(self, name: PartName) -> None:
        """Stop a part as `stop` does and wait until it is ready again.

        Raises:
            HostError: it did not become ready in time.
        """
        running = self._parts[name]
        running.ready.clear()
        running.at_once = True
        if running.process is not None:
            await running.process.stop(self._plan.build(name).stop_grace)
        await self.wait_ready(name)

    async def wait_ready(self, name: PartName, timeout: float | None = None) -> None:
        """Wait until a part answers.

        Args:
            name: the part.
            timeout: seconds; None takes that of the options.

        Raises:
            HostError: it does not; the message holds the end of its log.
        """
        try:
            await asyncio.wait_for(self._parts[name].ready.wait(), timeout or self._plan.options.ready_timeout)
        except TimeoutError as error:
            raise self._failure(self._plan.build(name), "does not answer") from error

    def record(self, name: PartName) -> PartRecord:
        return self._parts[name].record.model_copy()

    # -- starting ------------------------------------------------------------------------------------------------

    async def _start_after_needs(self, name: PartName) -> None:
        for need in NEEDS[name]:
            await self._parts[need].ready.wait()
        self._logs.turn_over(name)
        self._tell(EventKind.STARTING, name, "")
        if self._plan.build(name).ready is None:
            await self._run_job(name)
            return
        for tries_left in range(_PORT_TRIES - 1, -1, -1):
            part = self._plan.build(name)
            try:
                await self._launch(part)
                break
            except _Ended as ended:
                if not tries_left or not self._move_ports(part):
                    raise self._failure(part, f"ended with exit code {ended.code} instead of starting") from ended
        self._parts[name].keeper = asyncio.create_task(self._keep(name), name=f"keep {name}")

    async def _run_job(self, name: PartName) -> None:
        part, running = self._plan.build(name), self._parts[name]
        self._set(name, PartState.STARTING)
        with self._logs.open(name) as log:
            process = await spawn(
                part.command, env=part.environment, cwd=self._folder.folder, stdout=asyncio.subprocess.PIPE, stderr=log
            )
            running.process = process
            self._note(name, process)
            try:
                async with asyncio.timeout(self._plan.options.install_timeout):
                    assert process.process.stdout is not None
                    async for line in process.process.stdout:
                        log.write(line)
                        log.flush()
                        self._tell(EventKind.PROGRESS, name, line.decode(errors="replace").strip())
                    code = await process.wait()
            except TimeoutError as error:
                raise self._failure(part, f"is not done after {self._plan.options.install_timeout:.0f} s") from error
            finally:
                if process.returncode is None:
                    await process.stop(part.stop_grace)
                running.process = None
                running.record.group = None
        if code != 0:
            raise self._failure(part, f"failed with exit code {code}")
        self._set(name, PartState.DONE)
        running.ready.set()
        self._tell(EventKind.READY, name, "")

    async def _launch(self, part: Part) -> None:
        """Start a process and wait until it answers.

        Raises:
            _Ended: it ended before.
            HostError: it does not answer in time; it is stopped then.
        """
        running = self._parts[part.name]
        running.record.address = part.address
        self._set(part.name, PartState.STARTING)
        for folder in part.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for file, text in part.files.items():
            write_private(file, text)
        self._sweep(part)
        since = time.time()
        with self._logs.open(part.name) as log:
            process = await spawn(
                part.command,
                env=part.environment,
                cwd=self._folder.folder,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        running.process = process
        self._note(part.name, process)
        try:
            await self._until_ready(part, process, since)
        except BaseException:
            if process.returncode is None:
                await process.stop(part.stop_grace)
            raise
        self._set(part.name, PartState.READY)
        running.ready.set()
        self._tell(EventKind.READY, part.name, part.address)

    async def _until_ready(self, part: Part, process: GuardedProcess, since: float) -> None:
        assert part.ready is not None
        probe, deadline, reason = part.ready(since), time.monotonic() + self._plan.options.ready_timeout, "no answer"
        ended = asyncio.create_task(process.wait())
        try:
            while time.monotonic() < deadline:
                try:
                    await probe()
                    return
                except NotReady as error:
                    reason = str(error)
                await asyncio.wait({ended}, timeout=_PROBE_EVERY_S)
                if ended.done():
                    raise _Ended(ended.result())
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        raise self._failure(part, f"does not answer after {self._plan.options.ready_timeout:.0f} s: {reason}")

    def _move_ports(self, part: Part) -> bool:
        """Give a part whose ports a stranger has taken meanwhile others.

        Returns:
            False if no stranger is to blame.
        """
        moved: list[PortName] = [name for name in part.ports if not is_free(self._plan.ports.get(name))]
        for name in moved:
            old = self._plan.ports.get(name)
            self._tell(
                EventKind.MOVED, part.name, f"{name}: port {old} was taken, {self._plan.ports.replace(name)} now"
            )
        if moved:
            self._state.ports.update(self._plan.ports.taken)
            self._moved()
        return bool(moved)

    # -- running -------------------------------------------------------------------------------------------------

    async def _keep(self, name: PartName) -> None:
        """Start a part again whenever it has ended, until `stop`."""
        running, failures, began = self._parts[name], 0, time.monotonic()
        while True:
            process = running.process
            assert process is not None
            code = await process.wait()
            if self._stopping:
                return
            running.ready.clear()
            running.record.restarts += 1
            running.record.group = None
            self._set(name, PartState.RESTARTING)
            failures = 0 if time.monotonic() - began > _STEADY_S else failures + 1
            pause = 0.0 if running.at_once else min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** max(0, failures - 1))
            running.at_once = False
            log = self._logs.file(name)
            self._tell(EventKind.DIED, name, f"{exit_words(code)}; starting it again in {pause:.1f} s (log: {log})")
            await asyncio.sleep(pause)
            began = time.monotonic()
            try:
                await self._launch(self._plan.build(name))
            except _Ended:
                continue  # its process has ended: the loop tells, waits longer, and tries again
            except HostError as error:
                self._tell(EventKind.DIED, name, error.message)
            except OSError as error:  # no memory, no file descriptors: may pass
                self._tell(EventKind.DIED, name, f"cannot be started: {error}")

    async def _stop_part(self, name: PartName) -> None:
        running = self._parts[name]
        process = running.process
        if process is not None and process.returncode is None:
            await process.stop(self._plan.build(name).stop_grace)
        if running.keeper is not None:
            running.keeper.cancel()
            await asyncio.gather(running.keeper, return_exceptions=True)
        if running.process is not None and running.process.returncode is None:  # started while we stopped the last one
            await running.process.stop(0.5)
        running.ready.clear()
        running.record.group = None
        running.record.pid = 0
        if process is not None or running.record.state is not PartState.DONE:
            self._set(name, PartState.STOPPED)
        if process is not None:
            self._sweep(self._plan.build(name))
            self._tell(EventKind.STOPPED, name, "")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_LOOK_S)
            self._logs.bound()

    # -- telling -------------------------------------------------------------------------------------------------

    def _note(self, name: PartName, process: GuardedProcess) -> None:
        record = self._parts[name].record
        record.group, record.pid = mark(process.pgid), process.pid
        self._save(name)

    def _set(self, name: PartName, state: PartState) -> None:
        self._parts[name].record.state = state
        self._save(name)

    def _save(self, name: PartName) -> None:
        try:
            self._folder.save(self._state)
        except DataDirBroken as error:  # a full disk must not keep parts from being kept, or stopped
            self._tell(EventKind.PROGRESS, name, str(error))

    def _tell(self, kind: EventKind, part: PartName, text: str) -> None:
        self._listener(StackEvent(kind, part, text))

    def _failure(self, part: Part, what: str) -> HostError:
        tail = self._logs.tail(part.name)
        message = f"{part.name} {what}" + (f"; the end of {self._logs.file(part.name)}:\n{tail}" if tail else "")
        return HostError(message, hint=part.hint or f"its whole log is {self._logs.file(part.name)}")

    def _sweep(self, part: Part) -> None:
        for file in part.debris:
            with contextlib.suppress(OSError):  # another user's of the same name is none of ours
                file.unlink(missing_ok=True)


class _Ended(Exception):
    """A process ended before it was ready."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def exit_words(code: int) -> str:
    """An exit code in words, as a guard reports it."""
    number = -code if code < 0 else code - 128  # negative: the guard was killed too
    if number > 0:
        with contextlib.suppress(ValueError):  # no signal of that number
            return f"was killed by {signal.Signals(number).name}"
    return f"ended with exit code {code}"
