"""A message that can never start a run goes out of the way with the reason, and hurts no other."""

from __future__ import annotations

import asyncio
import json

import pytest

from meta.triggers.handling import SILENT_DEATHS
from meta.triggers.names import DEAD_STREAM
from tests.faults.triggers import SLOW_S, Ground, Trial, eventually
from tests.support.nats_tap import Delivery

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


async def test_a_message_that_was_taken_too_often_without_a_word_is_put_aside_unhandled(shared_ground: Ground) -> None:
    """As one of which services die: nobody has said why it failed, so its deliveries are all there is to tell by."""
    trial = await shared_ground.trial("deadly", deliveries=1)
    [service] = shared_ground.services
    await service.kill()
    deadly = b'{"n": 13}'
    await shared_ground.send("deadly.made", deadly)
    subscription = await shared_ground.js.pull_subscribe_bind("meta-deadly-all", stream=trial.stream)
    for _ in range(1 + SILENT_DEATHS):
        [message] = await subscription.fetch(1, timeout=SLOW_S)
        await message.nak()
    await subscription.unsubscribe()
    for number in range(3):
        await shared_ground.send("deadly.made", {"n": number})
    await service.start()
    await trial.drained()
    await trial.assert_runs(range(3))
    [row] = await trial.events("dead")
    assert row.data == deadly
    assert "no service has said how it ended" in row.reason
    assert list(await letters(trial)) == [deadly]


@pytest.mark.prove
async def test_a_message_of_which_services_die_does_not_keep_the_others(shared_ground: Ground) -> None:
    """Every delivery of it kills the service. Those that are delivered beside it a few times start their runs."""
    trial = await shared_ground.trial("killer", deliveries=1)
    [service] = shared_ground.services
    deaths = 0

    async def die() -> None:
        nonlocal deaths
        await service.kill()
        deaths += 1
        await service.start()

    killing = set[asyncio.Task[None]]()

    def deliver(delivery: Delivery) -> bool:
        if delivery.stream != trial.stream or delivery.sequence != 1 or deaths >= 1 + SILENT_DEATHS:
            return True
        killing.add(asyncio.ensure_future(die()))
        return False

    shared_ground.tap.deliver = deliver
    await shared_ground.send("killer.made", {"n": 13})

    async def thrice() -> bool:
        return deaths >= 3

    await eventually(thrice, SLOW_S, "the service has died three times")
    for number in range(3):
        await shared_ground.send("killer.made", {"n": number})
    await trial.drained(timeout_s=2 * SLOW_S)
    await trial.assert_runs(range(3))
    [row] = await trial.events("dead")
    assert (row.data, deaths) == (b'{"n": 13}', 1 + SILENT_DEATHS)
