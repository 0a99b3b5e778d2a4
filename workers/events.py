"""The wait for a message, between the workflow and the port."""

from __future__ import annotations

import asyncio

from temporalio import activity

from workers.engines.waiting import ALIVE
from workers.ports import EventReader, Place
from workflows.errors import InvalidInput, SettingsInvalid
from workflows.expressions.awaited import event_condition
from workflows.inputs import MAX_OUTPUTS, size_of
from workflows.kind_messages import AwaitEvent, EventArrived


async def wait_for_event(reader: EventReader | None, message: AwaitEvent) -> EventArrived:
    """Wait for a message. Signs of life say how far the stream was read, so that another worker goes on from there.

    Raises:
        SettingsInvalid: this worker has no NATS.
        InvalidInput: the message is too large to be an output.
    """
    step = message.key.step
    if reader is None:
        raise SettingsInvalid(
            f"step '{step}' waits for a message, and this worker has no NATS",
            hint="set nats.url in the meta.toml of every worker, and start them again",
        )
    fits = event_condition(message.when, message.variables, f"step '{step}', event.when")
    place = _left_at()

    def read(now: Place) -> None:
        nonlocal place
        place = now

    async def live() -> None:
        while True:
            activity.heartbeat(*([place.stream, place.created, place.sequence] if place is not None else []))
            await asyncio.sleep(ALIVE)

    alive = asyncio.create_task(live(), name="alive")
    try:
        arrived = await reader.first(message, fits, after=place, read=read)
    finally:
        alive.cancel()
    if (size := size_of(arrived.event)) > MAX_OUTPUTS:
        raise InvalidInput(
            f"the message on {arrived.subject} that step '{step}' waits for has {size // 1024} KB as JSON,"
            f" {MAX_OUTPUTS // 1024} KB at most",
            hint="send a reference to what is large",
        )
    return arrived


def _left_at() -> Place | None:
    """How far the try before came."""
    match activity.info().heartbeat_details:
        case [str(stream), str(created), int(sequence)]:
            return Place(stream, created, sequence)
        case _:
            return None
