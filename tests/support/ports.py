"""Ports for servers that must be told one before they start, or that start again where they were."""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST, _LAST = 10_000, 32_000
"""Below those that Linux gives to connections that go out (from 32768): a server that is down keeps its port."""


def free_ports(count: int) -> list[int]:
    """Ports that are free at the moment, all different."""
    with contextlib.ExitStack() as stack:
        ports = list[int]()
        while len(ports) < count:
            port, one = random.randrange(_FIRST, _LAST), stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken
                one.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def free_port() -> int:
    return free_ports(1)[0]
