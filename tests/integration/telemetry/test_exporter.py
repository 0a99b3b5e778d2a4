"""The exporter with a real collector: outages, refusals, several of them, repeats."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from meta.store import Store
from meta.store.exports import Settled
from meta.store.tables import StepRow
from meta.telemetry.exporter import Pace
from meta.trace.model import Part
from tests.integration.telemetry.stories import PACE, begin, end, exporting, forgotten, has
from tests.support.otlp import GrpcCollector
from tests.unit.store.test_store import AT, REF
from workflows.naming import RunKey
from workflows.outcome import Node, Outcome
from workflows.trace import trace_id


async def test_a_run_in_progress_has_its_root_and_the_steps_that_are_over(
    store: Store, collector: GrpcCollector
) -> None:
    async with exporting(store, collector):
        await begin(store, "chain-1")
        await collector.until(has(collector, "chain-1", "cause"))
        assert len(collector.spans) == 1
        key = RunKey(meta_run="chain-1", step="prepare", attempt=1)
        await store.attempt_submitted("chain", key, REF, AT)
        await store.attempt_ended("chain", key, REF, Outcome(started_at=AT, finished_at=AT), AT)
        await collector.until(has(collector, "chain-1", "step", "prepare"))
        assert not has(collector, "chain-1", "run")()
        await end(store, "chain-1")
        await collector.until(has(collector, "chain-1", "run"))
        await forgotten(store)
    ids = [span.span_id for span in collector.spans]
    assert len(ids) == len(set(ids)), "nobody died, nothing is repeated"


async def test_while_the_collector_is_away_spans_wait_in_the_store_and_come_after(
    store: Store, collector: GrpcCollector, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"chain-{n}" for n in range(10)]
    async with exporting(store, collector):
        await begin(store, names[0])
        await collector.until(has(collector, names[0], "cause"))
        await collector.stop()
        for name in names[1:]:
            await begin(store, name)
        await asyncio.gather(*(end(store, name) for name in names))
        async with asyncio.timeout(10):
            while "traces wait in the store, try 2" not in caplog.text:
                await asyncio.sleep(0.02)
        await collector.start()
        for name in names:
            await collector.until(has(collector, name, "run"))
        await forgotten(store)
    assert caplog.text.count("traces wait") < 6, "it is said now and then, not at every try"


async def test_what_was_sent_and_not_settled_is_sent_again_as_it_was_though_more_is_known(
    store: Store, collector: GrpcCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the service is killed between the answer and its note of it."""
    original = store.exports.settle_claims

    async def die(sink: str, settled: list[Settled]) -> None:
        if settled:
            raise RuntimeError("killed")

    await begin(store, "chain-1")
    await end(store, "chain-1")
    monkeypatch.setattr(store.exports, "settle_claims", die)
    with pytest.raises(RuntimeError, match="killed"):
        async with exporting(store, collector):
            await collector.until(has(collector, "chain-1", "run"))
            await asyncio.sleep(0)
            raise RuntimeError("killed")
    [first] = collector.requests
    async with store.database.write() as session:  # a later word on the step
        row = await session.get(StepRow, ("chain-1", "prepare"))
        assert row is not None
        row.snapshot = {**row.snapshot, "finished_at": (AT + timedelta(seconds=1)).isoformat()}
    monkeypatch.setattr(store.exports, "settle_claims", original)
    async with exporting(store, collector):
        await forgotten(store)
    assert len(collector.requests) == 2
    assert collector.requests[1].spans == first.spans


async def test_two_services_share_the_work_and_say_the_same(
    store: Store, collector: GrpcCollector, tmp_path: Path
) -> None:
    names = [f"chain-{n}" for n in range(20)]
    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    async with (
        await Store.open(url, sinks=("otlp",)) as other,
        exporting(store, collector),
        exporting(other, collector),
    ):
        await asyncio.gather(*(begin(store if n % 2 else other, name) for n, name in enumerate(names)))
        await asyncio.gather(*(end(other if n % 2 else store, name) for n, name in enumerate(names)))
        for name in names:
            await collector.until(has(collector, name, "run"))
        await forgotten(store)


async def test_what_is_not_sampled_stays_in_the_store(store: Store, collector: GrpcCollector) -> None:
    unsampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    sampled = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    traces = {"chain-1": {}, "chain-2": unsampled, "chain-3": sampled}
    async with exporting(store, collector, sampling=0):
        for name, trace in traces.items():
            await begin(store, name, trace)
            await end(store, name, trace)
        await forgotten(store)
    assert {span.trace_id for span in collector.spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert collector.spans[0].parent_id == "00f067aa0ba902b7"
    for name in traces:
        assert (await store.traces.record(name)).attempts


async def test_a_run_that_the_collector_refuses_holds_up_nobody(
    store: Store, collector: GrpcCollector, caplog: pytest.LogCaptureFixture
) -> None:
    bad = trace_id("chain-bad", {})
    collector.refuse = lambda spans: (
        grpc.StatusCode.INVALID_ARGUMENT if any(span.trace_id == bad for span in spans) else None
    )
    for name in ("chain-1", "chain-bad", "chain-2"):
        await begin(store, name)
    async with exporting(store, collector):
        for name in ("chain-1", "chain-2"):
            await collector.until(has(collector, name, "cause"))
        async with asyncio.timeout(10):
            while "the collector refuses spans of run chain-bad" not in caplog.text:
                await asyncio.sleep(0.02)
        assert collector.tried < 10, "and it is not hammered"
        collector.refuse = lambda _: None
        await collector.until(has(collector, "chain-bad", "cause"))


async def test_a_collector_that_wants_another_token_is_asked_seldom_and_said_to(
    store: Store, collector: GrpcCollector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuse = lambda _: grpc.StatusCode.UNAUTHENTICATED
    await begin(store, "chain-1")
    async with exporting(store, collector):
        await collector.until(lambda: collector.tried == 2)
        assert "UNAUTHENTICATED" in caplog.text
        assert "otlp_headers" in caplog.text
        collector.refuse = lambda _: None
        await collector.until(has(collector, "chain-1", "cause"))
        assert collector.tried < 6


@pytest.mark.parametrize(("count", "chunk"), [(100, 30), pytest.param(5000, 512, marks=pytest.mark.prove)])
async def test_a_wide_step_goes_out_in_many_requests_with_parents_first(
    store: Store, collector: GrpcCollector, count: int, chunk: int
) -> None:
    await begin(store, "chain-1")
    key = RunKey(meta_run="chain-1", step="prepare", attempt=1)
    nodes = [
        Node(id=f"n{n}", name=f"main({n})", type="Pod", phase="Succeeded", started_at=AT, finished_at=AT)
        for n in range(count)
    ]
    await store.attempt_submitted("chain", key, REF, AT)
    await store.attempt_ended("chain", key, REF, Outcome(nodes=nodes, started_at=AT, finished_at=AT), AT)
    async with exporting(store, collector, replace(PACE, chunk=chunk)):
        await end(store, "chain-1")
        await collector.until(has(collector, "chain-1", "run"), 120)
        await forgotten(store)
    assert max(len(one.spans) for one in collector.requests) <= chunk
    assert sum(span.part is Part.NODE for span in collector.spans) == count


async def test_stopping_lets_what_is_due_go_out(store: Store, collector: GrpcCollector) -> None:
    slow = Pace(linger=30, poll=30)
    async with exporting(store, collector, slow) as exporter:
        await begin(store, "chain-1")
        await end(store, "chain-1")
        await exporter.drain()
        assert has(collector, "chain-1", "run")()


async def test_stopping_does_not_wait_for_a_collector_that_is_away(store: Store, collector: GrpcCollector) -> None:
    await collector.stop()
    async with exporting(store, collector, Pace(first_pause=30, linger=0.01, poll=0.05)) as exporter:
        await begin(store, "chain-1")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                await exporter.drain()
                return
        pytest.fail("it waits")
