"""Triggers of published definitions: what starts, with which inputs, and what follows a change of the definition."""

from __future__ import annotations

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, ended, eventually, publish
from workflows.outcome import RunState


async def test_a_message_starts_a_run_with_inputs_by_expression(rig: Rig, js: JetStreamContext) -> None:
    [row] = await publish(
        rig, '{subject: "ml.*.ready", inputs: {rate: "${{ event.rows * 2 }}", note: "${{ event.tokens[1] }}"}}'
    )
    await js.publish("ml.datasets.ready", b'{"rows": 4}')
    [event] = await ended(rig, 1)
    assert event.outcome == "started" and event.run_id is not None
    async with rig.client() as client:
        run = await client.wait(event.run_id)
    assert (run.state, run.trigger, run.inputs) == (RunState.SUCCEEDED, "nats", {"rate": 8, "note": "datasets"})
    await drained(js, row.stream, row.consumer)


async def test_a_redelivery_after_a_lost_acknowledgement_finds_the_same_run(
    rig: Rig, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same message, handled again, as when the service dies between Temporal's answer and the acknowledgement."""
    [row] = await publish(rig, "{subject: a.b, ackWait: 1s}")
    seen: list[int] = []
    original = Msg.ack_sync

    async def lose_first(self: Msg, timeout: float = 1.0) -> Msg:
        seen.append(self.metadata.num_delivered)
        if seen[-1] == 1:
            raise TimeoutError("the acknowledgement was lost")
        return await original(self, timeout)

    monkeypatch.setattr(Msg, "ack_sync", lose_first)
    await js.publish("a.b", b"{}")

    async def again() -> bool:
        return seen[-1:] == [2]

    await eventually(again)
    await drained(js, row.stream, row.consumer)
    async with rig.client() as client:
        assert len((await client.list()).runs) == 1
    assert len(await rig.store.triggers.list()) == 1
