from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from meta.store import Store
from meta.store.event_tables import OutboxRow, ReplyRow
from tests.unit.store.test_store import AT, BUNDLE, DEFINITION, REF, snapshot
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import FailureClass, Outcome, RunState, StepState
from workflows.trace import root_span_id

KEY = RunKey(meta_run="chain-1", step="prepare", attempt=1)
FAILED = Outcome(failure=FailureClass.FAILED, message="exit code 1")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", outgoing=True) as opened:
        yield opened


async def rows(store: Store) -> list[OutboxRow]:
    async with store.database.read() as session:
        return list((await session.exec(select(OutboxRow).order_by(OutboxRow.seq))).all())  # pyright: ignore[reportArgumentType] -- sqlmodel's columns are values to the type checker


async def whats(store: Store) -> list[str]:
    return [row.event_id.removeprefix("chain-1/") for row in await store.outbox.unsent(100)]


def ended(state: RunState = RunState.SUCCEEDED, at: datetime | None = None) -> RunSnapshot:
    run = snapshot("chain-1")
    steps = [step.model_copy(update={"state": StepState.SUCCEEDED, "attempt": 1}) for step in run.steps]
    return run.model_copy(update={"state": state, "steps": steps, "finished_at": at or AT})


async def test_a_repeat_of_the_same_news_adds_nothing(store: Store) -> None:
    for _ in range(2):
        await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
        await store.attempt_submitted("chain", KEY, REF, AT)
        await store.attempt_ended("chain", KEY, REF, FAILED, AT)
    assert await whats(store) == ["run.started", "step.prepare.started/1", "step.prepare.attempt_failed/1"]
    failed = snapshot("chain-1")
    failed.steps[0] = failed.steps[0].model_copy(update={"state": StepState.FAILED, "attempt": 1})
    for _ in range(2):
        await store.snapshot(failed)
    assert (await whats(store))[3:] == ["step.prepare.failed"]
    for _ in range(2):
        await store.runs.gone("chain-1", RunState.TERMINATED, "by hand", AT)
    assert (await whats(store))[4:] == ["step.train.skipped", "run.terminated"]
    await store.attempt_submitted("chain", KEY.model_copy(update={"attempt": 2}), REF, AT)
    await store.snapshot(ended())
    assert (await whats(store))[6:] == [], "nothing comes after the end"


async def test_what_attempts_tell_waits_until_their_run_has_told_of_itself(store: Store) -> None:
    await store.other_run_ended(KEY, REF, REF, AT)  # the first to come, and it does not even know the workflow
    await store.attempt_submitted("chain", KEY, REF, AT)
    assert await store.outbox.unsent(100) == []
    assert (await store.outbox.size()).count == 0
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    await store.runs.create(snapshot("chain-1", trace=trace, trigger="nats"), "i", DEFINITION)
    found = await store.outbox.unsent(100)
    assert [row.subject for row in found] == [
        "meta.events.chain.chain-1.run.started", "meta.events.chain.chain-1.step.prepare.started"
    ]  # fmt: skip
    for row in found:
        assert row.event["source"] == "/meta-workflows/chain"
        assert row.event["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{root_span_id('chain-1')}-01"
        data = row.event["data"]
        assert isinstance(data, dict)
        assert (data["workflow"], data["trigger"]) == ("chain", "nats")
    assert isinstance(data := found[0].event["data"], dict)
    assert data["inputs"] == {"rate": 1}
    assert [row.event["sequence"] for row in found] == ["0000000001", "0000000002"]


async def test_a_change_that_fails_leaves_no_event(store: Store) -> None:
    with pytest.raises(RuntimeError):
        async with store.database.write() as session:
            await store.runs.change(session, snapshot("chain-1"), lambda run: run)
            raise RuntimeError("before the commit")
    assert await rows(store) == []
    assert not store.outbox.added.is_set()
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    assert store.outbox.added.is_set()


async def test_many_writers_of_one_run_number_its_events_without_a_gap(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    keys = [RunKey(meta_run="chain-1", step=step, attempt=n) for step in ("prepare", "train") for n in range(1, 6)]
    async with await Store.open(store.database.engine.url.render_as_string(), outgoing=True) as other:
        await asyncio.gather(
            *(one.attempt_submitted("chain", key, REF, AT) for key in keys for one in (store, other))
        )  # fmt: skip
    found = await rows(store)
    assert [row.event["sequence"] for row in found] == [f"{n:010d}" for n in range(1, len(found) + 1)]


async def test_sent_events_stay_until_a_day_after_their_run(store: Store) -> None:
    day = timedelta(days=1)
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.triggers.add_reply("chain-1", "answers", "cloudevents", {})
    await store.outbox.mark_sent([row.seq or 0 for row in await store.outbox.unsent(100)])
    assert await store.outbox.unsent(100) == []
    assert await store.outbox.clear(-day) == 0, "the run goes on, and must not tell the same again"
    await store.snapshot(ended(at=datetime.now(UTC)))
    await store.outbox.mark_sent([row.seq or 0 for row in await store.outbox.unsent(100)])
    assert await store.outbox.clear(day) == 0
    assert await store.outbox.replies(["chain-1"]) != {}
    assert await store.outbox.clear(-day, chunk=2) == len(["run.started", *"ssss", "run.succeeded"])
    async with store.database.read() as session:
        assert (await session.exec(select(ReplyRow))).all() == []


async def test_events_that_are_not_sent_are_never_cleared(store: Store) -> None:
    await store.runs.create(snapshot("chain-1"), "i", DEFINITION)
    await store.snapshot(ended())
    assert await store.outbox.clear(timedelta(days=-1)) == 0
    assert (await store.outbox.size()).count == 6


def test_the_bundle_of_these_tests_is_described() -> None:
    assert snapshot("chain-1").bundle_digest == BUNDLE.digest
