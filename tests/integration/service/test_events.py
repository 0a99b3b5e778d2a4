"""Dead events, looked at, tried again and given up, through the service's calls, the SDK and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from meta.api.starter import Starter, request_run_id
from meta.api.temporal import TemporalRuns
from meta.cli.app import app
from meta.client import EventInfo, MetaClient, ReplayedInfo, sync
from meta.store.event_tables import TriggerEventRow, TriggerRow
from meta.store.triggers import EventRecord, event_row_id
from meta.triggers.asking import ask
from meta.triggers.decode import Place, decode
from meta.triggers.intake import Intake, record_of
from meta.triggers.replay import Replayer, Unwanted, Wanted
from tests.integration.service.servers import CHAIN, Rig
from workflows.errors import Conflict, ExpressionFailed, InvalidInput, MetaError, NotFound, ServiceUnavailable
from workflows.outcome import Outcome, RunState
from workflows.spec import load_definition

PLACE = Place("ML", "2026-01-01T00:00:00Z", 7, datetime(2026, 1, 2, tzinfo=UTC), 3)
POISON = ExpressionFailed("input 'rate': no such field: rate", hint="the message has speed")
TRIGGERED = (
    CHAIN
    + """\
triggers:
  - nats:
      name: datasets
      subject: ml.datasets.*.ready
      when: event.rows > 10
      inputs: {rate: "${{ event.rate }}"}
"""
)
MENDED = TRIGGERED.replace("event.rate", "event.speed")
Meta = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def meta(rig: Rig) -> Meta:
    async def invoke(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *arguments], answer)
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def bury(
    rig: Rig,
    number: int = 1,
    data: bytes = b'{"rows": 20, "speed": 3}',
    *,
    trigger: str = "datasets",
    source: str = "nats",
    workflow: str = "chain",
    headers: dict[str, str] | None = None,
) -> str:
    """A message that a trigger could not use, as the consumer writes it down; its id."""
    event = decode("ml.datasets.x.ready", data, headers, PLACE, max_bytes=1 << 20)
    event = replace(event, identity=f"nats:id:{number}")
    await rig.store.triggers.put(record_of(event, workflow, trigger, source, error=POISON))
    return event_row_id(workflow, event.identity)


async def starter(rig: Rig) -> Starter:
    """One beside the service's own."""
    return Starter(rig.store, await TemporalRuns.open(rig.config.temporal.address, "default", ""))


async def replayed(client: MetaClient, *ids: str) -> list[ReplayedInfo]:
    return sorted([one async for one in client.replay(ids)], key=lambda one: ids.index(one.id))


async def test_a_dead_event_starts_its_run_once_the_definition_is_mended(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(TRIGGERED))
        event_id = await bury(rig, headers={"traceparent": f"00-{1:032x}-{2:016x}-01"})
        [first] = await replayed(client, event_id)
        assert (first.outcome, first.run_id, first.code) == ("dead", "", "EXPRESSION_FAILED")
        event = await client.event(event_id[:8])
        assert (event.outcome, event.reason) == ("dead", first.reason), "the new reason is written down"
        assert event.reason != POISON.message
        assert (event.data, event.deliveries) == (b'{"rows": 20, "speed": 3}', 3)
        assert event.event_time == PLACE.time

        await client.publish(rig.chain(MENDED))
        [second] = await replayed(client, event_id)
        assert (second.outcome, second.created, second.reason) == ("started", True, "")
        run = await client.wait(second.run_id)
        assert (run.state, run.trigger, run.outputs) == (RunState.SUCCEEDED, "nats", {"rate": 3.0})
        known = await rig.store.runs.get(run.id)
        assert known.trace["traceparent"].startswith("00-")
        assert known.cause is not None and known.cause.at is not None and known.started_at is not None
        assert (known.cause.kind, known.cause.name) == ("nats", "process ml.datasets.*.ready")
        assert known.cause.attributes["meta.replayed"] == "true"
        assert PLACE.time < known.cause.at <= known.started_at, "the replay made it start, not the message of old"
        event = await client.event(event_id)
        assert (event.outcome, event.run_id, event.reason, event.data) == ("started", run.id, "", b"")

        [third] = await replayed(client, event_id)
        assert (third.outcome, third.run_id, third.created) == ("started", run.id, False)
        assert len((await client.list()).runs) == 1


async def test_replays_of_one_event_at_the_same_time_start_one_run(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
        ids = [await bury(rig, number) for number in range(5)]
        answers = await asyncio.gather(*(replayed(client, *ids) for _ in range(4)))
        assert all(len({answer[at].run_id for answer in answers}) == 1 for at in range(5))
        assert sum(one.created for answer in answers for one in answer) == 5
        assert len((await client.list()).runs) == 5
        assert await rig.store.events.dead() == []


async def test_an_event_whose_identity_has_started_a_run_gets_no_second_one(rig: Rig) -> None:
    """As when the record of a start was lost, or its publisher sent the same message again."""
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
        trigger = load_definition(MENDED).triggers[0].nats
        assert trigger is not None
        dead = [await bury(rig, 1), await bury(rig, 2)]
        for number, data in ((1, b'{"speed": 3, "rows": 20}'), (2, b'{"rows": 20, "speed": 4}')):
            other = decode("ml.datasets.y.ready", data, None, PLACE, max_bytes=1 << 20)
            wanted = ask("chain", trigger, [other], f"nats:id:{number}")
            await Intake(await starter(rig), rig.store).start(wanted, [])
        same, changed = await replayed(client, *dead)
        assert (same.outcome, same.created) == ("started", False)
        assert same.run_id == request_run_id("chain", "nats:id:1")
        assert (changed.outcome, changed.code) == ("dead", "CONFLICT")
        assert len((await client.list()).runs) == 2


async def test_an_event_that_can_still_start_nothing_says_why_and_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
        small = await bury(rig, 1, b'{"rows": 1, "speed": 3}')
        gone = await bury(rig, 2, trigger="other")
        unknown = await bury(rig, 3, workflow="chian", trigger="")
        bridge = await bury(rig, 4, source="bridge")
        broken = await bury(rig, 5, b"[1]", trigger="")
        down = await bury(rig, 6)
        row = await rig.store.events.get(down)

        async def away(*_: object, **__: object) -> None:
            raise ServiceUnavailable("Temporal does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(Starter, "start", away)
            [answer] = await replayed(client, down)
        assert (answer.outcome, answer.code) == ("dead", "SERVICE_UNAVAILABLE")
        assert await rig.store.events.get(down) == row, "it is not its own fault"

        answers = await replayed(client, small, gone, unknown, bridge, broken, down)
        assert [one.outcome for one in answers] == ["discarded", "dead", "dead", "dead", "dead", "started"]
        for one, code, words in zip(
            answers[:5],
            ("", "NOT_FOUND", "NOT_FOUND", "INVALID_INPUT", "INPUTS_INVALID"),
            ("when 'event.rows > 10'", "no trigger 'other'", "'chian'", "source 'bridge'", "not an object"),
            strict=True,
        ):
            assert one.code == code
            assert words in one.reason
            event = await client.event(one.id)
            reason = POISON.message if one.id == bridge else one.reason  # what is not tried keeps the reason it has
            assert (event.outcome, event.reason) == (one.outcome, reason)
        assert "datasets" in answers[1].hint
        [again] = await replayed(client, small)
        assert (again.outcome, again.code) == ("discarded", "CONFLICT"), "what was given up stays so"
        await client.delete_workflow("chain")
        late = await bury(rig, 7)
        assert (await replayed(client, late))[0].code == "NOT_FOUND"


async def test_an_event_of_another_source_is_read_by_what_is_registered_for_it(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
    trigger = load_definition(MENDED).triggers[0].nats
    assert trigger is not None

    async def read(row: TriggerEventRow) -> Wanted | Unwanted:
        if row.data == b"{}":
            return Unwanted("nobody asks")
        event = replace(decode(row.subject, b'{"speed": 5}', None, PLACE, max_bytes=99), identity=row.identity)
        wanted = replace(ask("chain", trigger, [event], row.identity), reply="ai.status.7")
        return Wanted(wanted, event, reply_format="bridge", context={"request_id": "7"})

    replayer = Replayer(await starter(rig), rig.store, max_event=1024, readings={"bridge": read})
    ids = [await bury(rig, 1, source="bridge"), await bury(rig, 2, b"{}", source="bridge")]
    done = {one.event_id: one async for one in replayer.replay(ids)}
    assert (done[ids[0]].outcome, done[ids[1]].outcome) == ("started", "discarded")
    run = await rig.store.runs.get(done[ids[0]].run_id)
    assert (run.trigger, run.inputs["rate"]) == ("bridge", 5)
    assert (await rig.store.events.get(ids[0])).source == "bridge"


async def test_an_event_that_died_before_it_had_its_own_identity_gets_it_with_the_replay(rig: Rig) -> None:
    keyed = MENDED.replace("name: datasets", 'name: datasets\n      id: "${{ event.dataset }}"')
    async with rig.client() as client:
        await client.publish(rig.chain(keyed))
        ids = [await bury(rig, number, b'{"rows": 20, "speed": 3, "dataset": "d-1"}') for number in (1, 2)]
        [first] = await replayed(client, ids[0])
        [copy] = await replayed(client, ids[1])
        assert first.run_id == copy.run_id == request_run_id("chain", "key:d-1")
        assert (first.created, copy.created) == (True, False)
        for event_id in ids:
            assert (await client.event(event_id)).outcome == "started", "the dead row is settled too"


async def test_a_message_that_could_not_be_read_gets_the_identity_that_is_inside_it(rig: Rig) -> None:
    cloud = {"specversion": "1.0", "id": "7", "source": "/lab", "type": "ready", "data": {"rows": 20, "speed": 3}}
    data = json.dumps(cloud).encode()
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
        ids = [await bury(rig, number, data) for number in (1, 2)]
        answers = await replayed(client, *ids)
        identity = decode("ml.datasets.x.ready", data, None, PLACE, max_bytes=1 << 20).identity
        assert {one.run_id for one in answers} == {request_run_id("chain", identity)}
        assert sorted(one.created for one in answers) == [False, True]


async def test_a_triggers_limits_hold_for_replays_too(rig: Rig) -> None:
    limited = MENDED.replace("name: datasets", "name: datasets\n      concurrency: 1")
    rig.engine.script["prepare"] = [None, None, Outcome()]
    async with asyncio.timeout(40), rig.client() as client:
        await client.publish(rig.chain(limited))
        ids = [await bury(rig, number) for number in range(3)] + [await bury(rig, 9, b"{}", trigger="")]
        answers = client.replay(ids)
        first = [await anext(answers), await anext(answers)]
        assert {one.outcome for one in first} == {"started"}, "one of the trigger, and one that has no limits"
        [turn] = [one for one in first if one.id != ids[3]]
        waiting = set(ids[:3]) - {turn.id}
        await rig.engine.until(lambda: rig.engine.steps().count("prepare") == 2)
        restarting = asyncio.create_task(rig.restart())  # the stream does not keep the service from stopping
        with pytest.raises(ServiceUnavailable, match="stopping"):
            await anext(answers)
        await restarting
        assert set(await rig.store.events.dead()) == waiting, "what had not its turn stays dead"
        rig.engine.finish("prepare")
        rest = [one async for one in client.replay(list(waiting))]
        assert [(one.outcome, one.created) for one in rest] == [("started", True)] * 2


async def test_a_start_that_fails_after_its_limits_let_it_through_leaves_the_event_dead(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = MENDED.replace("name: datasets", "name: datasets\n      concurrency: 1")
    async with rig.client() as client:
        await client.publish(rig.chain(limited))
        ids = [await bury(rig, 1), await bury(rig, 2, b'{"rows": 20, "speed": "fast"}')]

        async def away(*_: object, **__: object) -> None:
            raise ServiceUnavailable("Temporal does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(Starter, "start", away)
            assert (await replayed(client, ids[0]))[0].code == "SERVICE_UNAVAILABLE"
        event = await client.event(ids[0])
        assert (event.outcome, event.run_id, event.reason) == ("dead", "", POISON.message)
        wrong, right = await replayed(client, ids[1], ids[0])
        assert (wrong.outcome, wrong.code) == ("dead", "INPUTS_INVALID")
        assert (await client.event(ids[1])).code == "INPUTS_INVALID"
        assert right.outcome == "started", "a start that failed has taken nobody's place"
        await client.wait(right.run_id)
        dead = await rig.store.events.get(await bury(rig, 3))
        held = EventRecord(
            workflow="chain", trigger="datasets", identity="nats:id:3", source="nats", subject=dead.subject,
            outcome="held", data=dead.data, event_time=dead.event_time,
        )  # fmt: skip
        alone = await bury(rig, 4)
        await rig.store.triggers.put(replace(held, identity="nats:id:4", run_id=request_run_id("chain", "nats:id:4")))
        assert (await replayed(client, alone))[0].outcome == "started", "its service died before it could start"
        await rig.store.triggers.put(replace(held, batch="batch-1"))
        assert (await replayed(client, dead.id))[0].code == "CONFLICT", "it waits for others"


async def test_events_are_listed_by_pages_replayed_by_workflow_and_given_up(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(MENDED))
        ids = [await bury(rig, number) for number in range(5)]
        other = await bury(rig, 9, workflow="other", trigger="")
        seen: list[EventInfo] = []
        page = await client.events(workflow="chain", outcome="dead", size=2)
        while True:
            seen += page.events
            if not page.next_token:
                break
            page = await client.events(workflow="chain", outcome="dead", size=2, token=page.next_token)
        assert [one.id for one in seen] == ids[::-1]
        assert all(one.data == b"" for one in seen), "a list has no data"
        wrong: list[tuple[Awaitable[object], type[MetaError]]] = [
            (client.events(outcome="daed"), InvalidInput),
            (client.events(token="x"), InvalidInput),
            (client.event("ev-ffff"), NotFound),
            (client.discard([ids[0], "ev-ffff"]), NotFound),
            (replayed(client), InvalidInput),
            (replayed(client, ids[0], "ev-ffff"), NotFound),
        ]
        for call, error in wrong:
            with pytest.raises(error):
                await call
        assert await client.discard(ids[0]) == 1
        assert {one.id async for one in client.replay(workflow="chain")} == set(ids[1:])
        with pytest.raises(Conflict, match="has started run"):
            await client.discard([other, ids[1]])
        assert [(one.id, one.code) async for one in client.replay(everything=True)] == [(other, "NOT_FOUND")]
        outcomes = {one.id: one.outcome for one in (await client.events()).events}
    assert outcomes == {ids[0]: "discarded", other: "dead", **dict.fromkeys(ids[1:], "started")}

    def blocking() -> tuple[int, list[ReplayedInfo]]:
        with sync.MetaClient(rig.address) as client:
            assert client.event(other).workflow == "other"
            return len(client.events(outcome="dead").events), list(client.replay(other))

    count, again = await asyncio.to_thread(blocking)
    assert (count, again[0].outcome) == (1, "dead")


async def test_triggers_without_nats_are_off_and_end_with_their_workflow(rig: Rig) -> None:
    async with rig.client() as client:
        await client.publish(rig.chain(TRIGGERED))
        [trigger] = await client.triggers()
        assert (trigger.workflow, trigger.name, trigger.subject) == ("chain", "datasets", "ml.datasets.*.ready")
        assert (trigger.state, trigger.message) == ("off", "NATS is not configured")
        assert trigger.spec["when"] == "event.rows > 10"
        assert await client.triggers("chain") == [trigger]
        with pytest.raises(NotFound, match="chian"):
            await client.triggers("chian")
        started = await client.start("chain")
        assert await client.delete_workflow("chain") == 1
        assert await client.triggers() == []
        with pytest.raises(NotFound):
            await client.start("chain")
        with pytest.raises(NotFound):
            await client.delete_workflow("chain")
        assert (await client.wait(started.id)).state is RunState.SUCCEEDED, "runs go on"
        published = await client.publish(rig.chain(TRIGGERED))
        assert (published.version, len(await client.triggers())) == (2, 1)


async def test_the_commands_lead_from_a_dead_event_to_its_run(rig: Rig, meta: Meta) -> None:
    assert (await meta("events"))[1] == "no dead events; --all lists all\n"
    code, out, errors = await meta("publish", str(rig.chain(TRIGGERED)))
    assert code == 0
    assert "  ml.datasets.*.ready -> chain (datasets)\n" in out
    assert "NATS is not configured" in errors
    ids = [await bury(rig, number) for number in (1, 2, 3)]
    code, out, _ = await meta("events")
    assert code == 0
    assert all(event_id in out for event_id in ids)
    code, out, _ = await meta("events", "show", ids[0][3:])
    assert code == 0
    assert "the message has speed" in out
    assert '"speed": 3' in out
    shown = json.loads((await meta("events", "show", ids[0], "-o", "json"))[1])
    assert (shown["data_kind"], json.loads(shown["data_text"])["rows"]) == ("JSON", 20)

    code, out, _ = await meta("events", "replay", *ids[:2])
    assert code == 1
    assert out.count("stays dead") == 2
    assert "2 events: 0 with a run, 2 not started" in out
    assert (await meta("publish", str(rig.chain(MENDED))))[0] == 0
    assert (await meta("events", "discard", ids[2]))[:2] == (0, "1 event discarded\n")
    code, out, _ = await meta("events", "replay", "--all", answer="n\n")
    assert code == 1
    assert "Replay 2 dead events?" in out
    code, out, _ = await meta("events", "replay", "--workflow", "chain", "--yes")
    assert code == 0
    assert f"{ids[0]}: started chain-" in out
    assert "2 events: 2 with a run\n" in out
    assert (await meta("events", "replay", "--all"))[:2] == (0, "no dead events\n")
    listed = json.loads((await meta("events", "--all", "-o", "json"))[1])
    assert {one["id"]: one["outcome"] for one in listed} == {ids[0]: "started", ids[1]: "started", ids[2]: "discarded"}
    assert "data" not in listed[0]
    assert [one["id"] for one in json.loads((await meta("events", "--outcome", "discarded", "-o", "json"))[1])] == [
        ids[2]
    ]
    replays = json.loads((await meta("events", "replay", ids[0], "-o", "json"))[1])
    assert [(one["id"], one["created"]) for one in replays] == [(ids[0], False)]
    code, _, errors = await meta("events", "discard", ids[0])
    assert code == 2
    assert "has started run" in errors


async def test_the_commands_show_triggers_and_take_a_workflow_back(rig: Rig, meta: Meta) -> None:
    assert (await meta("triggers"))[1] == "no triggers\n"
    await meta("publish", str(rig.chain(TRIGGERED)))
    code, out, errors = await meta("triggers", "chain")
    assert code == 0
    assert "ml.datasets.*.ready" in out
    assert "nats.url" in errors
    [row] = json.loads((await meta("workflows", "-o", "json"))[1])
    assert row["triggers"] == ["ml.datasets.*.ready"]
    code, out, _ = await meta("delete", "chain", answer="n\n")
    assert code == 1
    assert "ends: ml.datasets.*.ready -> chain (datasets)" in out
    code, _, errors = await meta("delete", "chian", "--yes")
    assert code == 2
    assert "did you mean 'chain'?" in errors
    assert json.loads((await meta("delete", "chain", "--yes", "-o", "json"))[1]) == {"name": "chain", "triggers": 1}
    assert "nothing is published" in (await meta("workflows"))[1]
    async with rig.store.database.write() as session:
        now = datetime.now(UTC)
        session.add(TriggerRow(workflow="old", name="t", subject="s", spec={}, since=now, updated_at=now))
    assert json.loads((await meta("triggers", "-o", "json"))[1])[0]["state"] == "ending"
