"""Starts a run for each message, as a trigger does: the message's id is the request's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats
from nats.aio.msg import Msg

from meta.client import MetaClient
from meta.triggers.event import identity_of


@asynccontextmanager
async def starts_runs(url: str, address: str, subject: str, workflow: str) -> AsyncGenerator[None]:
    """Make a stream for a subject, and start a run of a published workflow with each message's data as inputs."""
    async with MetaClient(address) as client:
        connection = await nats.connect(url)

        async def start(message: Msg) -> None:
            identity = identity_of("nats:id", (message.headers or {})["Nats-Msg-Id"])
            await client.start(workflow, json.loads(message.data), request_id=identity)

        try:
            await connection.jetstream().add_stream(name=f"T_{workflow.upper()}", subjects=[subject])
            await connection.subscribe(subject, cb=start)
            await connection.flush()
            yield
        finally:
            await connection.close()
