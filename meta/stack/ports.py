"""Ports on 127.0.0.1: the given, else the same as last time, else the well-known, else a free one.

A port that is free now may be another's a moment later. Two things make that rare: free ports come from below the
range the kernel gives to outgoing connections, and every port handed out is reserved between all our processes on
this machine by a lock on one byte of a shared file (the kernel drops it when the process ends, however it ends). What
is left, a stranger that binds at that moment, the supervisor sees as a failed start and asks for another port.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from meta.stack.names import DEFAULT_PORTS, PortName
from workflows.errors import HostError, PortTaken

HOST = "127.0.0.1"
COMPANION = 10_000  # weed's workers find its admin server's gRPC at that distance; no option tells them another
_FREE = range(20_000, 32_768 - COMPANION)  # with its companion below Linux's ephemeral range, which begins at 32768
_TRIES = 500


class Ports:
    """The ports of one stack.

    Args:
        given: must be these.
        previous: what the same data folder had last time.
        well_known: try `DEFAULT_PORTS` before random ones.
    """

    def __init__(
        self, given: Mapping[PortName, int], previous: Mapping[PortName, int], *, well_known: bool = False
    ) -> None:
        self._given = dict(given)
        self._previous = dict(previous)
        self._well_known = well_known
        self._taken: dict[PortName, int] = {}

    @property
    def taken(self) -> dict[PortName, int]:
        return dict(self._taken)

    def get(self, name: PortName) -> int:
        """The port, chosen at the first call.

        Raises:
            PortTaken: it was given and somebody else has it; the message says who, where that can be seen.
            HostError: no free port at all.
        """
        if name not in self._taken:
            self._taken[name] = self._choose(name)
        return self._taken[name]

    def replace(self, name: PortName) -> int:
        """Another port than now, because a stranger has bound that one.

        Raises:
            PortTaken: the port was given, so there is no other.
        """
        old = self._taken.pop(name, None)
        if name in self._given:
            raise _taken(name, self._given[name])
        self._previous.pop(name, None)
        port = self._random(name) if old is not None else self._choose(name)
        if old is not None:
            for number in _numbers(name, old):
                _Reservations.give_back(number)
        self._taken[name] = port
        return port

    def release(self) -> None:
        """Give all reservations back."""
        for name, port in self._taken.items():
            for number in _numbers(name, port):
                _Reservations.give_back(number)
        self._taken.clear()

    def _choose(self, name: PortName) -> int:
        if name in self._given:
            if not _acquire(name, self._given[name]):
                raise _taken(name, self._given[name])
            return self._given[name]
        candidates = [self._previous.get(name), DEFAULT_PORTS.get(name) if self._well_known else None]
        for candidate in candidates:
            if candidate is not None and _acquire(name, candidate):
                return candidate
        return self._random(name)

    def _random(self, name: PortName) -> int:
        for _ in range(_TRIES):
            port = random.choice(_FREE)
            if _acquire(name, port):
                return port
        raise HostError(
            f"no free port on {HOST} for {name} after {_TRIES} tries between {_FREE.start} and {_FREE.stop}",
            hint="stop what listens there, or give the ports by option (meta up --help)",
        )


def is_free(port: int) -> bool:
    """Whether this process could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections are no hindrance
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on the port, as "name (pid 123)"; empty where that cannot be seen (another user's, or not Linux)."""
    inodes = _listeners(port)
    if not inodes:
        return ""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            for link in (folder / "fd").iterdir():
                if os.readlink(link) in inodes:
                    return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return ""


def _listeners(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):  # not Linux
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _taken(name: PortName, port: int) -> PortTaken:
    who = holder(port)
    return PortTaken(
        f"port {port}, asked for {name}, is taken{f' by {who}' if who else ''}",
        hint=f"stop what uses it, give another with --port-{name.replace('_', '-')}, or leave the option out: a free "
        "port is found",
    )


def _numbers(name: PortName, port: int) -> tuple[int, ...]:
    return (port, port + COMPANION) if name is PortName.S3_ADMIN else (port,)


def _acquire(name: PortName, port: int) -> bool:
    got: list[int] = []
    for number in _numbers(name, port):
        if number < 65_536 and _Reservations.take(number):
            got.append(number)
            if is_free(number):
                continue
        for taken in got:
            _Reservations.give_back(taken)
        return False
    return True


class _Reservations:
    """Ports handed out by this process, and by others through the lock file.

    One descriptor for the life of the process: closing any descriptor of a file drops all of a process's locks on it.
    """

    _guard = threading.Lock()
    _mine: set[int] = set()  # noqa: RUF012 -- of the process, not of an instance, as the kernel's locks are
    _fd: int | None = None
    _owner = 0

    @classmethod
    def take(cls, port: int) -> bool:
        with cls._guard:
            if port in cls._mine and cls._owner == os.getpid():
                return False
            try:
                fcntl.lockf(cls._descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                return False
            cls._mine.add(port)
            return True

    @classmethod
    def give_back(cls, port: int) -> None:
        with cls._guard:
            if port in cls._mine and cls._owner == os.getpid():
                cls._mine.discard(port)
                fcntl.lockf(cls._descriptor(), fcntl.LOCK_UN, 1, port)

    @classmethod
    def _descriptor(cls) -> int:
        if cls._fd is None or cls._owner != os.getpid():  # a forked child holds none of its parent's locks
            file = Path(tempfile.gettempdir()) / f"meta-workflows-ports-{os.getuid()}.lock"
            cls._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            cls._owner = os.getpid()
            cls._mine.clear()
        return cls._fd
