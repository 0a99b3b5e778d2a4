"""Those who wait to hear what became of a message."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from meta.api.starter import Started
from workflows.errors import MetaError

Answer = Started | MetaError


@dataclass
class Waiters:
    """Those who wait for messages here, by the ids of their rows."""

    of: dict[str, set[asyncio.Future[Answer]]] = field(
        default_factory=lambda: defaultdict[str, set[asyncio.Future[Answer]]](set)
    )

    @asynccontextmanager
    async def waiting(self, row_id: str) -> AsyncGenerator[asyncio.Future[Answer]]:
        future = asyncio.get_running_loop().create_future()
        self.of[row_id].add(future)
        try:
            yield future
        finally:
            self.of[row_id].discard(future)
            if not self.of[row_id]:
                del self.of[row_id]

    def tell(self, row_id: str, answer: Answer) -> None:
        for future in self.of.get(row_id, ()):
            if not future.done():
                future.set_result(answer)
