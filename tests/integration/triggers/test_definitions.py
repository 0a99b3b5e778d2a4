"""Triggers of published definitions: what starts, with which inputs, and what follows a change of the definition."""

from __future__ import annotations

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from tests.integration.service.servers import CHAIN, Rig
from tests.integration.triggers.support import drained, ended, eventually, nudge, publish, standing, triggered
from workflows.outcome import RunState

READY = '{subject: "ml.*.ready", name: ready, inputs: {rate: "${{ event.rows * 2 }}", note: "${{ event.tokens[1] }}"}}'


async def test_a_message_starts_a_run_with_inputs_by_expression(rig: Rig, js: JetStreamContext) -> None:
    await rig.work()
    [row] = await publish(rig, READY)
    assert (row.consumer, row.stream) == ("meta-chain-ready", "META_CHAIN_READY")
    await js.publish("ml.datasets.ready", b'{"rows": 4}')
    [event] = await ended(rig, 1)
    assert (event.outcome, event.trigger) == ("started", "ready")
    assert event.run_id is not None
    async with rig.client() as client:
        run = await client.wait(event.run_id)
    assert (run.state, run.trigger, run.inputs) == (RunState.SUCCEEDED, "nats", {"rate": 8, "note": "datasets"})
    await drained(js, row.stream, row.consumer)


async def test_a_message_that_when_lets_not_through_is_acknowledged_and_starts_nothing(
    rig: Rig, js: JetStreamContext
) -> None:
    [row] = await publish(rig, "{subject: a.b, when: event.rows > 10, inputs: {rate: '${{ event.rows }}'}}")
    for rows in (1, 11):
        await js.publish("a.b", b'{"rows": %d}' % rows)
    await drained(js, row.stream, row.consumer)
    assert [(e.outcome, e.trigger) for e in await rig.store.triggers.list()] == [("started", row.name)]


async def test_what_is_not_wanted_needs_no_identity(rig: Rig, js: JetStreamContext) -> None:
    """Others' messages on the subject have fields of their own; only those that `when` lets through must have ours."""
    [row] = await publish(rig, "{subject: 'a.*', when: has(event.rows), id: '${{ event.table }}'}")
    await js.publish("a.b", b'{"other": 1}')
    await js.publish("a.b", b'{"rows": 1, "table": "t"}')
    await drained(js, row.stream, row.consumer)
    assert [(e.outcome, e.identity) for e in await rig.store.triggers.list()] == [("started", "key:t")]


async def test_one_identity_is_one_run_in_whatever_message_it_comes(rig: Rig, js: JetStreamContext) -> None:
    [row] = await publish(rig, "{subject: 'a.*', id: '${{ event.dataset }}', inputs: {note: '${{ event.dataset }}'}}")
    for subject in ("a.b", "a.c", "a.b"):
        await js.publish(subject, b'{"dataset": "d-7"}')
    await drained(js, row.stream, row.consumer)
    async with rig.client() as client:
        assert len((await client.list()).runs) == 1


async def test_what_was_stored_before_the_trigger_was_published_starts_nothing(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(name="OLD", subjects=["a.>"])
    await js.publish("a.b", b'{"note": "before"}')
    [row] = await publish(rig, "{subject: a.b, inputs: {note: '${{ event.note }}'}}")
    assert row.stream == "OLD"
    await js.publish("a.b", b'{"note": "after"}')
    [event] = await ended(rig, 1)
    await drained(js, row.stream, row.consumer)
    assert event.run_id is not None
    assert (await rig.store.runs.get(event.run_id)).inputs["note"] == "after"


async def test_a_new_version_changes_and_removes_triggers(rig: Rig, js: JetStreamContext) -> None:
    first, second = await publish(rig, "{subject: a.b, name: one}", "{subject: c.d, name: two}")
    assert (first.name, second.name) == ("one", "two")
    [changed] = await publish(rig, "{subject: a.b, name: one, when: 'false', ackWait: 7s, maxDeliver: 3}")
    assert changed.since == first.since

    async def edited() -> bool:
        return (await js.consumer_info(first.stream, first.consumer)).config.ack_wait == 7

    await eventually(edited)
    with pytest.raises(NotFoundError):
        await js.consumer_info(second.stream, second.consumer)
    await js.publish("a.b", b"{}")
    await js.publish("c.d", b"{}")
    await drained(js, first.stream, first.consumer)
    assert await rig.store.triggers.list() == []
    assert (await js.stream_info(second.stream)).state.messages == 1, "streams and their messages stay"


async def test_another_subject_under_the_same_name_begins_anew(rig: Rig, js: JetStreamContext) -> None:
    await js.add_stream(name="ALL", subjects=["a.>"])
    [first] = await publish(rig, "{subject: a.b, name: one}")
    await js.publish("a.c", b"{}")  # before anybody asked for it
    async with rig.client() as client:
        await client.publish(rig.chain(triggered("{subject: a.c, name: one}")))

    async def moved() -> bool:
        return (await js.consumer_info("ALL", first.consumer)).config.filter_subject == "a.c"

    await eventually(moved)
    await js.publish("a.c", b'{"after": true}', headers={"Nats-Msg-Id": "after"})
    await ended(rig, 1)
    await drained(js, "ALL", first.consumer)
    assert [e.identity for e in await rig.store.triggers.list()] == ["nats:id:after"]


async def test_a_name_that_is_taken_back_takes_its_consumers_with_it(rig: Rig, js: JetStreamContext) -> None:
    [row] = await publish(rig, "{subject: a.b}")
    await rig.store.workflows.remove("chain")
    nudge(rig)
    await standing(rig.store, 0)
    with pytest.raises(NotFoundError):
        await js.consumer_info(row.stream, row.consumer)
    [again] = await publish(rig, "{subject: a.b}")
    assert again.since > row.since


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


async def test_a_message_chooses_inputs_and_nothing_else(rig: Rig, js: JetStreamContext) -> None:
    """Neither another workflow, nor files, nor engines, nor inputs that the trigger does not name."""
    await rig.work()
    [row] = await publish(rig, "{subject: a.b, inputs: {note: '${{ event.note }}'}}")
    digest = (await rig.store.workflows.newest("chain")).bundle_digest
    await js.publish(
        "a.b",
        b'{"note": "${{ steps.prepare.outputs.x }}", "rate": 9, "workflow": "other", "bundle_digest": "0", "steps":'
        b' {"prepare": {"argo": {"manifest": "evil.yaml"}}}, "files": {"step.yaml": "kind: Pod"}, "engine": "kfp"}',
        headers={"workflow": "other", "trigger": "x"},
    )
    [event] = await ended(rig, 1)
    assert event.run_id is not None
    async with rig.client() as client:
        run = await client.wait(event.run_id)
    assert (run.workflow, run.inputs) == ("chain", {"note": "${{ steps.prepare.outputs.x }}", "rate": 1})
    stored = await rig.store.runs.get(event.run_id)
    assert stored.bundle_digest == digest
    assert {one.manifest for one in rig.engine.submitted} == {rig.engine.submitted[0].manifest}
    assert "kind: Pod" not in str(rig.engine.submitted)
    await drained(js, row.stream, row.consumer)


async def test_a_definition_without_triggers_makes_nothing_at_nats(rig: Rig, js: JetStreamContext) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(CHAIN))
    assert sorted(str(one.config.name) for one in await js.streams_info()) == ["META_DEAD", "META_TRIGGERS"]
