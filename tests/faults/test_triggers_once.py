"""One run for each message, however often it is delivered or published, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import ormsgpack
import pytest

from tests.faults.triggers import SLOW_S, Ground, Trial
from tests.support.nats_tap import Delivery, Fate

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

TIMES = 5
FULL = pytest.mark.prove


def message(name: str, number: int) -> tuple[bytes, dict[str, str]]:
    """Data and headers of a message, in each encoding in turn, with and without an id of its own."""
    value = {"n": number}
    source = {"ce-specversion": "1.0", "ce-source": f"/{name}", "ce-type": "made", "ce-id": f"binary-{number}"}
    match number % 6:
        case 0:
            return json.dumps(value).encode(), {"Nats-Msg-Id": f"{name}-{number}"}
        case 1:
            return json.dumps(value).encode(), source | {"content-type": "application/json"}
        case 2:
            event = {"specversion": "1.0", "source": f"/{name}", "type": "made", "id": f"structured-{number}"}
            return json.dumps(event | {"data": value}).encode(), {"content-type": "application/cloudevents+json"}
        case 3:
            return ormsgpack.packb(value), {"content-type": "application/msgpack", "Nats-Msg-Id": f"{name}-{number}"}
        case 4:
            return ormsgpack.packb(value), {}
        case _:
            return json.dumps(value).encode(), {}


async def send_all(trial: Trial, numbers: range) -> None:
    for number in numbers:
        data, headers = message(trial.name, number)
        await trial.ground.send(f"{trial.name}.made", data, headers)


@dataclass
class Losses:
    """Loses acknowledgements of a trial's messages until each was handled often enough, and kills in between.

    A kill falls between Temporal's acceptance of a start and the acknowledgement, which is then lost too.

    Attributes:
        kills: what to kill at which acknowledgement, counted over all messages.
        armed: whether acknowledgements are counted. Not while messages without an id are published: a producer whose
            publish is not confirmed cannot know whether it would be the second.
        done: kills that have happened.
    """

    trial: Trial
    chance: random.Random
    kills: dict[int, Callable[[], Awaitable[None]]]
    often: float
    armed: bool = False
    done: int = 0
    _acks: int = 0
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _killing: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def fate(self, delivery: Delivery) -> Fate:
        if delivery.stream != self.trial.stream:
            return Fate.PASSED
        self._acks += self.armed
        if (kill := self.kills.pop(self._acks, None)) is not None:
            task = asyncio.ensure_future(self._kill(kill))
            self._killing.add(task)
            return Fate.LOST
        if self.trial.ground.tap.delivered[delivery.message] >= TIMES:
            return Fate.PASSED
        return Fate.LOST if self.chance.random() < self.often else Fate.FORGOTTEN

    async def _kill(self, kill: Callable[[], Awaitable[None]]) -> None:
        async with self._one_at_a_time:
            await kill()
        self.done += 1


@pytest.mark.parametrize(
    ("messages", "kills", "services"),
    [
        pytest.param(20, 2, 1),
        pytest.param(200, 12, 1, marks=FULL),
        pytest.param(200, 12, 2, marks=FULL),
    ],
)
async def test_five_redeliveries_of_each_message_with_kills_in_between_start_one_run_each(
    shared_ground: Ground, messages: int, kills: int, services: int
) -> None:
    chance = random.Random(2026)
    while len(shared_ground.services) < services:
        await shared_ground.add_service()
    trial = await shared_ground.trial(f"redelivered{messages}by{services}")
    tap, servers = shared_ground.tap, shared_ground.services[:services]

    async def kill_service(number: int) -> None:
        await servers[number].kill()
        await servers[number].start()

    async def kill_nats() -> None:
        await shared_ground.nats.kill()
        await shared_ground.nats.start()

    points = sorted(chance.sample(range(messages // 4, messages * (TIMES - 1)), kills))
    plan: dict[int, Callable[[], Awaitable[None]]] = {}
    for turn, point in enumerate(points):
        number = turn // 2 % services
        plan[point] = kill_nats if turn % 2 else lambda number=number: kill_service(number)
    losses = Losses(trial, chance, plan, often=0.05)
    tap.fate = losses.fate
    await send_all(trial, range(messages))
    losses.armed = True
    await trial.drained(timeout_s=SLOW_S + messages)
    await trial.assert_runs(range(messages))
    assert losses.done == kills
    delivered = {sequence: times for (stream, _, sequence), times in tap.delivered.items() if stream == trial.stream}
    assert len(delivered) == messages
    assert min(delivered.values()) >= TIMES
    assert not [one for one in tap.terminated if one[0] == trial.stream]
    assert not await trial.events("dead")


async def test_a_message_published_again_beyond_the_servers_window_starts_nothing_even_when_its_run_has_ended(
    shared_ground: Ground,
) -> None:
    trial = await shared_ground.trial("beyond", window_s=0.1)
    numbers = [0, 1, 2, 3]  # those that have an id of their own
    await send_all(trial, range(4))
    await trial.drained()
    for number in numbers:  # while its run may go on
        await trial.send_anew(*message(trial.name, number))
    await trial.drained()
    await trial.assert_runs(numbers)
    for number in numbers:  # after it has ended
        await trial.send_anew(*message(trial.name, number))
    await trial.drained()
    await trial.assert_runs(numbers)
    assert sum(1 for stream, _, _ in shared_ground.tap.delivered if stream == trial.stream) == 12, "each three times"


@pytest.mark.prove
async def test_two_services_on_one_store_killed_in_turn_start_one_run_each(shared_ground: Ground) -> None:
    while len(shared_ground.services) < 2:
        await shared_ground.add_service()
    trial = await shared_ground.trial("twins")
    tap, each = shared_ground.tap, 30
    for turn, service in enumerate(shared_ground.services[:2]):
        cut = Cut(trial.stream, after=10)
        tap.fate = cut.fate
        await send_all(trial, range(turn * each, (turn + 1) * each))
        await asyncio.wait_for(cut.reached.wait(), SLOW_S)
        await service.kill()
        cut.mend()
        await trial.drained()  # by the other one
        await service.start()
    await trial.assert_runs(range(2 * each))


@dataclass
class Cut:
    """Loses all acknowledgements of a stream from some number on, until it is mended."""

    stream: str
    after: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def fate(self, delivery: Delivery) -> Fate:
        if delivery.stream != self.stream or self.after < 0:
            return Fate.PASSED
        if self.after:
            self.after -= 1
            return Fate.PASSED
        self.reached.set()
        return Fate.LOST

    def mend(self) -> None:
        self.after = -1
