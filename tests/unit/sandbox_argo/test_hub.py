"""The window of events that watches read."""

from __future__ import annotations

import asyncio

import pytest

from meta.sandbox.argo.state import hub as hubs
from meta.sandbox.argo.state.hub import WINDOW, BehindError, Event, Subscription, TooOldError, WatchHub


def event(version: int, body: bytes = b"{}") -> Event:
    return Event("MODIFIED", version, "argo", "x", {}, {}, body)


def publish(hub: WatchHub, versions: range) -> None:
    for version in versions:
        hub.publish(event(version))


async def versions(subscription: Subscription) -> list[int]:
    return [event.resource_version for event in await subscription.read()]


async def test_a_subscription_misses_nothing_inside_the_window_and_refuses_what_is_older() -> None:
    hub = WatchHub(10)
    publish(hub, range(11, 14))
    with hub.subscribe(11) as subscription:
        hub.publish(event(14))
        assert await versions(subscription) == [12, 13, 14]
        hub.close()
        assert await versions(subscription) == []
    with pytest.raises(TooOldError, match=r"too old resource version: 9 \(10\)"):
        hub.subscribe(9)
    publish(hub, range(15, 15 + WINDOW))
    with pytest.raises(TooOldError):
        hub.subscribe(13)
    with hub.subscribe(14) as subscription:
        assert await versions(subscription) == list(range(15, 15 + WINDOW))


async def test_readers_wait_for_news_and_all_get_them() -> None:
    hub = WatchHub(0)
    subscriptions = [hub.subscribe(None) for _ in range(3)]
    for subscription in subscriptions:
        subscription.__enter__()
    reads = [asyncio.create_task(versions(subscription)) for subscription in subscriptions]
    await asyncio.sleep(0)
    publish(hub, range(1, 4))
    assert await asyncio.gather(*reads) == [[1, 2, 3]] * 3
    one = asyncio.create_task(versions(subscriptions[0]))
    two = asyncio.create_task(versions(subscriptions[1]))
    await asyncio.sleep(0)
    one.cancel()  # a watch that is closed does not disturb another
    hub.publish(event(4))
    assert await two == [4]


async def test_a_reader_that_the_window_has_left_behind_is_dropped() -> None:
    hub = WatchHub(0)
    with hub.subscribe(None) as slow:
        publish(hub, range(1, WINDOW + 1))
        assert (await versions(slow))[0] == 1
        publish(hub, range(WINDOW + 1, 2 * WINDOW + 2))
        with pytest.raises(BehindError):
            await slow.read()


async def test_the_window_is_limited_in_bytes_and_so_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "WINDOW_BYTES", 1000)
    monkeypatch.setattr(hubs, "BATCH_BYTES", 300)
    hub = WatchHub(0)
    for version in range(1, 21):
        hub.publish(event(version, b"x" * 100))
    with pytest.raises(TooOldError):
        hub.subscribe(9)
    with hub.subscribe(10) as subscription:
        assert await versions(subscription) == [11, 12, 13]
    hub.publish(event(21, b"x" * 5000))  # one that is larger than all is kept nevertheless
    with hub.subscribe(20) as subscription:
        assert await versions(subscription) == [21]


async def test_a_version_of_the_future_waits_for_what_comes_after_it() -> None:
    hub = WatchHub(0)
    with hub.subscribe(3) as subscription:
        publish(hub, range(1, 6))
        assert await versions(subscription) == [4, 5]
