"""The embedded stack inside a program: `async with EmbeddedStack(StackOptions(...)) as stack`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from meta.stack.addresses import Addresses
from meta.stack.config_file import BUCKET, write_config
from meta.stack.credentials import Credentials
from meta.stack.leftovers import end_leftovers, mark
from meta.stack.names import PartName, PortName
from meta.stack.options import StackOptions
from meta.stack.parts import Plan, wanted
from meta.stack.ports import Ports
from meta.stack.state import DataFolder, PartRecord, StackPhase, StackState
from meta.stack.supervisor import Supervisor


class EmbeddedStack:
    """A running stack, owned by the current event loop; its processes end when this process does, however it ends.

    Args:
        options: what to start, and where.

    Raises (on entering):
        PortTaken: a given port is in use.
        BinaryMissing: a server's program is not installed.
        DataDirBroken: the data folder cannot be used.
        HostError: another stack is at work in the folder, or a part does not become ready.
    """

    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self._names = wanted(options)
        self._folder = DataFolder(options.folder)
        self._ports: Ports | None = None
        self._supervisor: Supervisor | None = None
        self._state = StackState()
        self._plan: Plan | None = None

    @property
    def addresses(self) -> Addresses:
        """Where the parts are."""
        return self._running_plan().addresses(self._names)

    @property
    def config_file(self) -> Path:
        """The meta.toml of this stack."""
        return self._options.folder / "meta.toml"

    @property
    def credentials(self) -> Credentials:
        """Keys of the object store."""
        return self._running_plan().credentials

    @property
    def bucket(self) -> str:
        """The bucket that the sandbox engines use."""
        return BUCKET

    @property
    def parts(self) -> list[PartName]:
        return list(self._names)

    def part(self, name: PartName | str) -> PartRecord:
        """A part's state, process and count of restarts, at this moment."""
        return self._running().record(PartName(name))

    def port(self, name: PortName) -> int:
        return self._running_plan().ports.get(name)

    async def __aenter__(self) -> Self:
        self._folder.make()
        self._folder.lock()
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def kill(self, part: PartName | str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a part a signal. When that ends it, the supervisor starts it again; `wait_healthy` waits for that."""
        self._running().kill(PartName(part), sig)

    async def restart(self, part: PartName | str) -> None:
        """Stop a part in order and wait until it answers again."""
        await self._running().restart(PartName(part))

    async def wait_healthy(self, part: PartName | str, timeout: float | None = None) -> None:
        """Wait until a part answers.

        Args:
            part: its name.
            timeout: seconds; None takes the options' `ready_timeout`.

        Raises:
            HostError: it does not; with the end of its log.
        """
        await self._running().wait_ready(PartName(part), timeout)

    async def _start(self) -> None:
        previous = self._folder.load()
        end_leftovers(previous)
        self._ports = Ports(self._options.ports, previous.ports, well_known=self._options.well_known_ports)
        self._state = StackState(phase=StackPhase.STARTING, supervisor=mark(os.getpid()))
        credentials = Credentials.of(self._options.folder)
        plan = self._plan = Plan(self._options, self._ports, credentials, self._state.instance)
        plan.claim_ports(self._names)
        for name in self._names:
            plan.build(name)  # a missing program shows before anything runs
        self._state.ports = {**previous.ports, **self._ports.taken}
        self._folder.save(self._state)
        self._write_config()
        self._supervisor = Supervisor(plan, self._names, self._folder, self._state, moved=self._write_config)
        await self._supervisor.start()
        self._state.addresses = self.addresses.as_dict()
        self._state.phase = StackPhase.READY
        self._folder.save(self._state)

    async def _end(self) -> None:
        try:
            if self._supervisor is not None:
                self._state.phase = StackPhase.STOPPING
                await self._supervisor.stop()  # saves the state at every change
                self._state.phase = StackPhase.STOPPED
                self._state.supervisor = None
                self._folder.save(self._state)
        finally:
            if self._ports is not None:
                self._ports.release()
            self._folder.unlock()

    def _write_config(self) -> None:
        plan = self._running_plan()
        write_config(plan.addresses(self._names), plan.credentials)

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("the stack is not started: use `async with EmbeddedStack(...) as stack`")
        return self._supervisor

    def _running_plan(self) -> Plan:
        if self._plan is None:
            raise RuntimeError("the stack is not started: use `async with EmbeddedStack(...) as stack`")
        return self._plan
