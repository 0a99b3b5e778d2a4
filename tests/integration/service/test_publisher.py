"""The publisher with a real NATS: outages, crashes, several of them, replies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats as nats_client
import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from meta.config import NatsConfig
from meta.events import publisher as publishing
from meta.events.formats import FORMATS
from meta.events.publisher import LEASE, Pace, Publisher
from meta.server_process import end_task
from meta.store import Store
from tests.integration.service.servers import NatsServer
from tests.support.events import EventReader, event_reader, whats
from tests.unit.store.test_store import AT, DEFINITION, REF, snapshot
from workflows.naming import RunKey
from workflows.outcome import Outcome, RunState
from workflows.values import JsonObject

ATTEMPTS = 5
PACE = Pace(ack=1.0, longest_pause=0.5)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", outgoing=True) as opened:
        yield opened


@asynccontextmanager
async def publisher(store: Store, url: str, pace: Pace = PACE) -> AsyncGenerator[asyncio.Task[None]]:
    made = Publisher(NatsConfig(url=url), store, pace)
    task = asyncio.create_task(made.run())
    try:
        yield task
    finally:
        await end_task(task)


async def tell(store: Store, run_id: str, rest: int = ATTEMPTS) -> None:
    """A run and some attempts of its first step: 1 + 2 * `rest` events."""
    await store.runs.create(snapshot(run_id), "i", DEFINITION)
    for attempt in range(1, rest + 1):
        key = RunKey(meta_run=run_id, step="prepare", attempt=attempt)
        await store.attempt_submitted("chain", key, REF, AT)
        await store.attempt_ended("chain", key, REF, Outcome(), AT)


def story(rest: int = ATTEMPTS) -> list[str]:
    told = [f"step.prepare.{word}/{n}" for n in range(1, rest + 1) for word in ("started", "succeeded")]
    return ["run.started", *told]


async def until(probe: Callable[[], Awaitable[bool]], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not await probe():
            await asyncio.sleep(0.02)


async def sent(store: Store) -> None:
    async def empty() -> bool:
        return not (await store.outbox.size()).count

    await until(empty)


async def assert_told(reader: EventReader, runs: list[str]) -> None:
    """Every run's events, each once, in order, none missing."""
    await reader.until_true(lambda ids: len(ids) >= len(runs) * len(story()))
    for run in runs:
        assert whats(await reader.all(run)) == story()


async def test_events_of_many_runs_come_in_order_for_each(store: Store, nats: NatsServer) -> None:
    runs = [f"chain-{n}" for n in range(20)]
    async with publisher(store, nats.url), event_reader(nats.url) as reader:
        await asyncio.gather(*(tell(store, run) for run in runs))
        await assert_told(reader, runs)
        await sent(store)


async def test_a_service_that_stops_and_starts_sends_the_rest(store: Store, nats: NatsServer) -> None:
    await tell(store, "chain-0")
    async with event_reader(nats.url) as reader:
        async with publisher(store, nats.url):
            await sent(store)
        await tell(store, "chain-1")
        async with publisher(store, nats.url):
            await assert_told(reader, ["chain-0", "chain-1"])


async def test_what_was_published_but_not_written_down_comes_again_with_its_id_and_is_dropped(
    store: Store, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the service is killed between the acknowledgement and its note of it."""
    published = 0
    original = store.outbox.mark_sent

    async def die(seqs: list[int]) -> None:
        nonlocal published
        published += len(seqs)
        raise RuntimeError("killed")

    await tell(store, "chain-0")
    monkeypatch.setattr(store.outbox, "mark_sent", die)
    with pytest.raises(RuntimeError, match="killed"):
        async with publisher(store, nats.url, Pace(lease=0.5, ask=0.1)) as task:
            await asyncio.wait([task], timeout=20)
            task.result()
    assert published
    monkeypatch.setattr(store.outbox, "mark_sent", original)
    client = await nats_client.connect(nats.url)
    copies: list[str] = []

    async def hear(message: Msg) -> None:
        copies.append((message.headers or {})["Nats-Msg-Id"])

    await client.subscribe("meta.events.>", cb=hear)
    async with publisher(store, nats.url, Pace(lease=0.5, ask=0.1)), event_reader(nats.url) as reader:
        await sent(store)
        await client.flush()
        assert copies == [f"chain-0/{what}" for what in story()], "they were published again"
        await assert_told(reader, ["chain-0"])
        assert len(await reader.all()) == len(story()), "and the stream has each once"
    await client.close()


async def test_two_publishers_keep_the_order_and_one_takes_over_from_the_other(
    store: Store, nats: NatsServer, tmp_path: Path
) -> None:
    runs = [f"chain-{n}" for n in range(6)]
    pace = Pace(lease=1.0, ask=0.2)
    async with (
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", outgoing=True) as other,
        event_reader(nats.url) as reader,
        publisher(other, nats.url, pace),
    ):
        async with publisher(store, nats.url, pace):
            await asyncio.gather(*(tell(store, run) for run in runs[:3]))
            await assert_told(reader, runs[:3])
        await asyncio.gather(*(tell(store, run) for run in runs[3:]))
        await assert_told(reader, runs)


async def test_a_holder_that_died_is_followed_within_seconds(store: Store, nats: NatsServer) -> None:
    await store.leases.take(LEASE, "of the dead", "elsewhere/1", 1.0)
    await tell(store, "chain-0")
    async with publisher(store, nats.url), event_reader(nats.url) as reader:
        await assert_told(reader, ["chain-0"])


async def test_events_that_nats_never_takes_are_set_aside_and_hold_up_nobody(
    store: Store, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await nats_client.connect(nats.url)
    await client.jetstream().add_stream(StreamConfig(name="MINE", subjects=["meta.events.>"], max_msg_size=1200))
    await store.runs.create(snapshot("long-inputs", inputs={"text": "x" * 5000}), "i", DEFINITION)
    await store.runs.create(snapshot("l" * 1500), "i", DEFINITION)
    await store.runs.gone("l" * 1500, RunState.TERMINATED, "", AT)
    await tell(store, "chain-0")
    async with publisher(store, nats.url), event_reader(nats.url, "MINE") as reader:
        await reader.until("long-inputs", "run.started")
        await sent(store)
        [shortened] = await reader.all("long-inputs")
        assert isinstance(data := shortened["data"], dict)
        assert data["left_out"] == ["inputs"]
        assert whats(await reader.all("chain-0")) == story()
        assert await reader.all("l" * 1500) == []
    assert f"event {'l' * 1500}/run.started is not sent" in caplog.text
    with pytest.raises(NotFoundError):
        await client.jetstream().stream_info("META_EVENTS")
    await client.close()


async def test_runs_whose_subject_is_forbidden_wait_and_others_go_on(store: Store, tmp_path: Path) -> None:
    allow = '["$JS.API.>", "_INBOX.>", "meta.events.*.chain-0.>"]'
    settings = (
        "authorization { users: [{user: all, password: all},"
        f" {{user: some, password: some, permissions: {{publish: {allow}}}}}] }}"
    )
    server = NatsServer(tmp_path / "nats", settings=settings)
    await server.start()
    try:
        await tell(store, "chain-1")
        await tell(store, "chain-0")
        everything, some = (server.url.replace("://", f"://{user}:{user}@") for user in ("all", "some"))
        async with event_reader(everything) as reader:
            async with publisher(store, some):
                await assert_told(reader, ["chain-0"])
            assert (await store.outbox.size()).count == len(story())
            async with publisher(store, everything):
                await assert_told(reader, ["chain-0", "chain-1"])
    finally:
        await server.stop()


async def test_a_stream_that_was_deleted_is_made_again(store: Store, nats: NatsServer) -> None:
    client = await nats_client.connect(nats.url)
    async with publisher(store, nats.url):
        await tell(store, "chain-0")
        await sent(store)
        await client.jetstream().delete_stream("META_EVENTS")
        await tell(store, "chain-1")
        await sent(store)
        async with event_reader(nats.url) as reader:
            await assert_told(reader, ["chain-1"])
    await client.close()


async def test_replies_tell_the_same_on_subjects_of_their_own(
    store: Store, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts(event: JsonObject, context: JsonObject) -> bytes | None:
        return json.dumps(context).encode() if event["type"] == "meta.run.started" else None

    def broken(event: JsonObject, context: JsonObject) -> bytes | None:
        raise KeyError("what a request has brought along")

    monkeypatch.setitem(FORMATS, "starts", starts)
    monkeypatch.setitem(FORMATS, "broken", broken)
    for subject, form in (("answers", "cloudevents"), ("status", "starts"), ("x", "broken"), ("y", "unknown")):
        await store.triggers.add_reply("chain-0", subject, form, {"request": 7})
    await store.triggers.add_reply("chain-0", "no subject", "cloudevents", {})
    client = await nats_client.connect(nats.url)
    answers, status = await client.subscribe("answers"), await client.subscribe("status")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(publisher(store, nats.url))
        reader = await stack.enter_async_context(event_reader(nats.url))
        await tell(store, "chain-0")
        await tell(store, "chain-1")
        await assert_told(reader, ["chain-0", "chain-1"])
        heard = [json.loads((await answers.next_msg(timeout=5)).data) for _ in story()]
        assert heard == await reader.all("chain-0")
        assert json.loads((await status.next_msg(timeout=5)).data) == {"request": 7}
        assert answers.pending_msgs == status.pending_msgs == 0
    await client.close()


@pytest.mark.parametrize("away_s", [2.0, pytest.param(30.0, marks=pytest.mark.prove)])
async def test_while_nats_is_down_events_wait_and_come_in_order_after(
    store: Store, nats: NatsServer, away_s: float
) -> None:
    runs = [f"chain-{n}" for n in range(10)]
    async with publisher(store, nats.url, Pace()), event_reader(nats.url) as reader:
        telling = asyncio.gather(*(tell(store, run) for run in runs))
        await reader.until("chain-0", "run.started")
        await nats.stop()
        await telling
        await asyncio.sleep(away_s)  # the outage itself
        assert (await store.outbox.size()).count
        await nats.start()
        await assert_told(reader, runs)
        await sent(store)


async def test_a_publisher_that_starts_before_nats_sends_once_it_is_there(
    store: Store, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    await nats.stop()
    await tell(store, "chain-0")
    async with publisher(store, nats.url):
        async with asyncio.timeout(20):
            while "events wait in the store" not in caplog.text:
                await asyncio.sleep(0.02)
        await nats.start()
        async with event_reader(nats.url) as reader:
            await assert_told(reader, ["chain-0"])


def test_the_lease_is_short_enough_to_be_taken_over_within_seconds() -> None:
    assert publishing.Pace().lease <= 5
