"""What a connection to NATS tells its holder."""

from __future__ import annotations

import asyncio

from meta.nats import describe


class Heard:
    """What a connection told its holder."""

    def __init__(self) -> None:
        self.words = list[str]()
        self._more = asyncio.Event()

    async def hear(self, error: Exception) -> None:
        self.words.append(describe(error))
        self._more.set()

    async def until(self, word: str, timeout_s: float = 20) -> str:
        """Wait until something with a word in it is told."""
        async with asyncio.timeout(timeout_s):
            while True:
                if found := next((text for text in self.words if word in text), ""):
                    return found
                await self._more.wait()
                self._more.clear()
