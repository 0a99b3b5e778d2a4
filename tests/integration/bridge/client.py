"""A client of a pipeline bridge, as such clients are: it knows NATS, JSON or MessagePack, and two subjects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import nats
import ormsgpack
from nats.aio.client import Client

TRIGGER = "ai.pipeline.trigger"
STATUS = "ai.pipeline.status."


class BridgeClient:
    def __init__(self, connection: Client, *, packed: bool = False) -> None:
        self.connection = connection
        self.packed = packed
        self.seen: dict[str, list[dict[str, Any]]] = {}

    async def listen(self, request_id: str = "*") -> None:
        async def take(message: Any) -> None:
            status = self.read(message.data)
            self.seen.setdefault(message.subject.removeprefix(STATUS), []).append(status)

        await self.connection.subscribe(STATUS + request_id, cb=take)
        await self.connection.flush()

    async def publish(self, body: Any) -> None:
        await self.connection.publish(TRIGGER, self.write(body))
        await self.connection.flush()

    async def request(self, body: Any, timeout: float = 15) -> dict[str, Any]:
        return self.read((await self.connection.request(TRIGGER, self.write(body), timeout=timeout)).data)

    async def status(self, request_id: str, *wanted: str, count: int = 1) -> dict[str, Any]:
        """Wait until a request has had one of some statuses so often."""
        async with asyncio.timeout(30):
            while True:
                found = [one for one in self.seen.get(request_id, []) if one["status"] in wanted]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.02)

    def statuses(self, request_id: str) -> list[str]:
        return [one["status"] for one in self.seen.get(request_id, [])]

    def answers(self, request_id: str) -> list[str]:
        """What the request itself was told, without what its run tells afterwards."""
        return [status for status in self.statuses(request_id) if status in ("submitted", "error")]

    def write(self, body: Any) -> bytes:
        return ormsgpack.packb(body) if self.packed else json.dumps(body).encode()

    def read(self, data: bytes) -> dict[str, Any]:
        return ormsgpack.unpackb(data) if self.packed else json.loads(data)


@asynccontextmanager
async def bridge_client(url: str, *, packed: bool = False) -> AsyncGenerator[BridgeClient]:
    connection = await nats.connect(url)
    client = BridgeClient(connection, packed=packed)
    await client.listen()
    try:
        yield client
    finally:
        await connection.close()


def asking(request_id: str, pipeline: str = "training", **parameters: Any) -> dict[str, Any]:
    return {"request_id": request_id, "pipeline": pipeline, "parameters": parameters}
