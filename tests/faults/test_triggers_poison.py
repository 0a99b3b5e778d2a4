"""A message that can never start a run goes out of the way with the reason, and hurts no other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

import pytest
from nats.aio.msg import Msg

from meta.server_process import end_task
from meta.triggers.handling import SILENT_DEATHS
from meta.triggers.names import DEAD_STREAM
from tests.faults import mortal_service
from tests.faults.triggers import SLOW_S, Ground, ServerProcess, Trial, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


async def letters(trial: Trial) -> dict[bytes, tuple[str, str]]:
    """Dead letters of a trial: code and reason by data."""
    ground, found, subject = trial.ground, dict[bytes, tuple[str, str]](), f"meta.dead.{trial.name}"
    subscription = await ground.js.subscribe(subject, ordered_consumer=True, stream=DEAD_STREAM)
    state = (await ground.js.stream_info(DEAD_STREAM, subjects_filter=subject)).state
    for _ in range((state.subjects or {})[subject]):
        message = await subscription.next_msg(timeout=SLOW_S)
        headers = message.headers or {}
        found[message.data] = (headers["Meta-Reason-Code"], json.loads(headers["Meta-Reason"]))
    await subscription.unsubscribe()
    return found


async def test_poison_among_good_messages_is_put_aside_with_the_reason(shared_ground: Ground) -> None:
    trial = await shared_ground.trial("poison")
    poison = {
        b'{"n": ': ("EVENT_MALFORMED", "is no JSON"),
        b"\x81\xa1n": ("EVENT_MALFORMED", "MessagePack"),
        b'{"n": "many"}': ("INPUTS_INVALID", "expected an integer"),
        b'{"m": 1}': ("EXPRESSION_FAILED", "n"),
        b'{"n": [1, {"n": NaN}]}': ("EVENT_MALFORMED", "NaN"),
    }
    for number, data in enumerate(poison):
        await shared_ground.send("poison.good", {"n": number})
        await shared_ground.send("poison.bad", data)
    await trial.drained()
    await trial.assert_runs(range(len(poison)))
    found = await letters(trial)
    assert found.keys() == poison.keys()
    rows = {row.data: row for row in await trial.events("dead")}
    for data, (code, words) in poison.items():
        assert found[data][0] == code == rows[data].code, found[data]
        assert words in found[data][1]
        assert words in rows[data].reason
        assert rows[data].run_id is None


async def test_one_id_that_tells_two_things_starts_one_run_and_the_other_is_put_aside(shared_ground: Ground) -> None:
    trial = await shared_ground.trial("twofold", window_s=0.1)
    headers = {"Nats-Msg-Id": "the-same"}
    await shared_ground.send("twofold.made", {"n": 1}, headers)
    await eventually(trial.begun, SLOW_S, "the first starts a run")
    await trial.send_anew({"n": 2}, headers)
    await trial.drained()
    await trial.assert_runs([1])
    assert (await letters(trial))[b'{"n": 2}'][0] == "CONFLICT"
    assert [(row.data, row.code) for row in await trial.events("dead")] == [(b'{"n": 2}', "CONFLICT")]


@pytest.fixture
def mortal(shared_ground: Ground) -> Iterator[ServerProcess]:
    """The ground's service, which from its next start on dies of the number 13."""
    [service] = shared_ground.services
    command = service.command
    service.command = [sys.executable, mortal_service.__file__, *command[3:]]
    yield service
    service.command = command


async def died(service: ServerProcess) -> None:
    async with asyncio.timeout(SLOW_S):
        assert await service.died() == mortal_service.EXIT_CODE


async def assert_only_the_deadly_is_dead(trial: Trial) -> None:
    await trial.drained()
    await trial.assert_runs(range(3))
    [row] = await trial.events("dead")
    assert (row.data, row.run_id) == (b'{"n": 13}', None)
    assert "no service has said how it ended" in row.reason
    assert list(await letters(trial)) == [b'{"n": 13}']


async def test_a_message_of_which_services_die_is_put_aside_alone(shared_ground: Ground, mortal: ServerProcess) -> None:
    """All of them were delivered so often without a word that each might be the one."""
    trial = await shared_ground.trial("deadly", deliveries=1)
    await mortal.kill()
    for number in (0, 13, 1, 2):
        await shared_ground.send("deadly.made", {"n": number})
    subscription = await shared_ground.js.pull_subscribe_bind("meta-deadly-all", stream=trial.stream)
    for _ in range(1 + SILENT_DEATHS):
        taken: list[Msg] = []
        while len(taken) < 4:
            taken += await subscription.fetch(4 - len(taken), timeout=SLOW_S)
        for message in taken:
            await message.nak()
    await subscription.unsubscribe()
    await mortal.start()
    await died(mortal)
    await mortal.start()
    await assert_only_the_deadly_is_dead(trial)


@pytest.mark.prove
async def test_a_message_of_which_services_die_does_not_keep_the_others(
    shared_ground: Ground, mortal: ServerProcess
) -> None:
    """From its first delivery on; the others are delivered beside it."""
    trial = await shared_ground.trial("killer", deliveries=1)
    await mortal.kill()
    for number in (0, 13, 1, 2):
        await shared_ground.send("killer.made", {"n": number})
    await mortal.start()

    async def revive() -> None:
        while True:
            await died(mortal)
            await mortal.start()

    reviving = asyncio.create_task(revive())
    try:
        await trial.drained()
    finally:
        await end_task(reviving)
    await assert_only_the_deadly_is_dead(trial)
