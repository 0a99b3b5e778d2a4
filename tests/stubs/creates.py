"""What becomes of single creates, as a test writes it down beforehand; both stubs follow it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response


@dataclass(frozen=True, slots=True)
class Creating:
    """What becomes of one create that does not go right.

    Attributes:
        applied: seconds until it is carried out; None: never. Above zero it is held back, as by a proxy or a server
            that is slow, and carried out whether or not anybody waits for the answer.
        status: the answer is an error with this status, whatever becomes of the create; 0: the answer never comes.
    """

    applied: float | None
    status: int = 0


class CreateScript:
    """Creates to come, by the name of what they create; a name without any goes right."""

    def __init__(self) -> None:
        self.planned: dict[str, list[Creating]] = {}
        self.received: Counter[str] = Counter()
        self._held: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)

    def next(self, name: str) -> Creating | None:
        """Take the next one of a name; None: it goes right."""
        self.received[name] += 1
        planned = self.planned.get(name)
        return planned.pop(0) if planned else None

    async def follow(self, name: str, creating: Creating, make: Callable[[], object], hang: float) -> Response:
        """Let a create go as it is written down; `hang` is seconds until a lost answer's connection is given up."""
        if creating.applied:
            self._hold(name, creating.applied, make)
        elif creating.applied is not None:
            make()
        if creating.status:
            error = {"code": 13, "message": "the create failed, or its answer did"}
            return JSONResponse(error, status_code=creating.status)
        await asyncio.sleep(hang)
        return Response(status_code=504)

    def held(self, name: str) -> int:
        """How many creates of a name have not been carried out yet."""
        return len(self._held[name])

    def land(self, name: str) -> None:
        """Carry out at once what is held back; called in the stub's loop."""
        for apply in list(self._held[name]):
            apply()

    def _hold(self, name: str, seconds: float, make: Callable[[], object]) -> None:
        held = self._held[name]

        def land() -> None:
            if land in held:
                make()
                held.remove(land)

        held.append(land)
        asyncio.get_running_loop().call_later(seconds, land)
