"""From a message that can start nothing to its run: the way that a person goes, with a real NATS."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from meta.client import TriggerInfo
from meta.triggers.names import DEAD_STREAM
from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, eventually, publish
from workflows.outcome import RunState


async def test_a_poison_message_starts_its_run_once_the_definition_is_mended(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(StreamConfig(name="ML", subjects=["ml.>"], duplicate_window=0.1))
    [row] = await publish(rig, '{name: ready, subject: "ml.*.ready", inputs: {rate: "${{ event.rate }}"}}')
    await js.publish("ml.x.ready", b"\x81\xa5speed\x03", headers={"Nats-Msg-Id": "dataset-7"})  # MessagePack
    [dead] = await ended(rig, 1)
    assert (dead.outcome, dead.code, dead.data) == ("dead", "EXPRESSION_FAILED", b"\x81\xa5speed\x03")
    assert dead.headers["Nats-Msg-Id"] == "dataset-7", "what the message was read by is kept with it"
    await drained(js, row.stream, row.consumer)
    letter = await js.get_last_msg(DEAD_STREAM, "meta.dead.chain")
    assert letter.data == dead.data
    await publish(rig, '{name: ready, subject: "ml.*.ready", inputs: {rate: "${{ event.speed }}"}}')
    async with rig.client() as client:
        for created in (True, False):
            [replayed] = [one async for one in client.replay(workflow="chain")] or [
                one async for one in client.replay(dead.id)
            ]
            assert (replayed.outcome, replayed.created) == ("started", created)
        run = await client.wait(replayed.run_id)
        assert (run.state, run.inputs["rate"], run.trigger) == (RunState.SUCCEEDED, 3, "nats")
        # the same message again, when the server has forgotten it
        ack = await js.publish("ml.x.ready", b'{"speed": 3}', headers={"Nats-Msg-Id": "dataset-7"})
        assert not ack.duplicate
        await drained(js, row.stream, row.consumer)
        assert [one.id for one in (await client.list()).runs] == [run.id]
        assert [one.outcome for one in (await client.events()).events] == ["started"]


async def test_triggers_tell_how_they_stand_and_end_with_their_workflow(rig: Rig, js: JetStreamContext) -> None:
    [row] = await publish(rig, '{name: ready, subject: "ml.*.ready"}')
    async with rig.client() as client:
        [trigger] = await client.triggers("chain")
        assert (trigger.state, trigger.stream, trigger.consumer) == ("active", row.stream, row.consumer)
        assert (trigger.pending, trigger.unacknowledged) == (0, 0)
        assert trigger.updated_at is not None
        assert await client.delete_workflow("chain") == 1

        async def gone() -> bool:
            seen: list[TriggerInfo] = await client.triggers()
            assert all(one.state == "ending" for one in seen)
            return not seen

        await eventually(gone, 4)  # at once, and not with the next round
    try:
        await js.consumer_info(row.stream, row.consumer)
    except NotFoundError:
        return
    raise AssertionError("the consumer is still there")
