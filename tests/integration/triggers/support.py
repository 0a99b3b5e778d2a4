"""What tests of triggers share: waiting, definitions with triggers, a look at what became of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext

from meta.store.event_tables import TriggerEventRow, TriggerRow
from meta.store.store import Store
from meta.triggers.names import CONSUMER, STREAM
from tests.integration.service.servers import CHAIN, Rig


async def eventually(probe: Callable[[], Awaitable[bool]], timeout_s: float = 20) -> None:
    """Wait until something has come true."""
    async with asyncio.timeout(timeout_s):
        while not await probe():
            await asyncio.sleep(0.05)


async def events(rig: Rig, count: int, timeout_s: float = 20) -> list[TriggerEventRow]:
    """What became of messages, once there is a word about so many."""

    async def probe() -> bool:
        return len(await rig.store.triggers.list()) >= count

    await eventually(probe, timeout_s)
    return await rig.store.triggers.list()


async def ended(rig: Rig, count: int, timeout_s: float = 20) -> list[TriggerEventRow]:
    """What became of messages, once so many have started a run or are dead."""

    async def probe() -> bool:
        return sum(one.outcome in ("started", "dead") for one in await rig.store.triggers.list()) >= count

    await eventually(probe, timeout_s)
    return await rig.store.triggers.list()


async def drained(js: JetStreamContext, stream: str = STREAM, consumer: str = CONSUMER, timeout_s: float = 20) -> None:
    """Every message is acknowledged or terminated."""

    async def probe() -> bool:
        info = await js.consumer_info(stream, consumer)
        return not info.num_pending and not info.num_ack_pending

    await eventually(probe, timeout_s)


def triggered(*triggers: str) -> str:
    """The chain with triggers, each in YAML's flow style: `{subject: a.b, inputs: {...}}`."""
    return CHAIN + "triggers:\n" + "".join(f"  - nats: {one}\n" for one in triggers)


async def publish(rig: Rig, *triggers: str, state: str = "active") -> list[TriggerRow]:
    """Publish the chain with triggers, and wait until each of them stands as it should."""
    text = triggered(*triggers) if triggers else CHAIN
    async with rig.client() as client:
        await client.publish(rig.chain(text))
    return await standing(rig.store, len(triggers), state)


async def standing(store: Store, count: int, state: str = "active", timeout_s: float = 20) -> list[TriggerRow]:
    """The triggers, once there are so many and all stand so."""
    rows: list[TriggerRow] = []

    async def probe() -> bool:
        nonlocal rows
        rows = await store.trigger_states.list()
        return len(rows) == count and all(row.state == state for row in rows)

    try:
        await eventually(probe, timeout_s)
    except TimeoutError:
        raise AssertionError(f"not {count} that are {state}: {[(r.name, r.state, r.message) for r in rows]}") from None
    return rows


async def listening(rig: Rig) -> None:
    """Messages are listened for."""
    assert rig.service.triggers is not None
    async with asyncio.timeout(30):
        await rig.service.triggers.ready.wait()


def nudge(rig: Rig) -> None:
    """Let the service look at once, and not in a few seconds."""
    assert rig.service.triggers is not None
    rig.service.triggers.nudge()
