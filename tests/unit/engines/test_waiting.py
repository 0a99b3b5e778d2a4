"""The watcher that all waits of an engine share: when it runs, whom it wakes."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.engines.eventually import eventually
from workers.engines import waiting
from workers.engines.waiting import Watcher, with_life


class Sleeper(Watcher):
    """Watches nothing; counts its starts; can be told to die."""

    def __init__(self) -> None:
        super().__init__("test")
        self.starts = 0
        self.die = False

    async def run(self) -> None:
        self.starts += 1
        if self.die:
            self.die = False
            raise ValueError("a bug")
        await asyncio.Event().wait()


async def test_it_starts_with_the_first_wait_and_lingers_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LINGER", 0.1)
    watcher = Sleeper()
    assert not watcher.running
    with watcher.register("a"), watcher.register("b"):
        assert not watcher.running  # the first look may already find the end
        watcher.start()
        watcher.start()
        await eventually(lambda: watcher.starts == 1, "it has started")
        assert sorted(watcher.awaited) == ["a", "b"]
    assert watcher.running
    with watcher.register("c"):  # within the linger: the same task goes on
        await asyncio.sleep(0.2)
        assert watcher.running
    await eventually(lambda: not watcher.running, "it has stopped")
    assert watcher.starts == 1


async def test_a_sign_wakes_all_waits_of_that_run_and_no_other() -> None:
    watcher = Sleeper()
    with watcher.register("a") as first, watcher.register("a") as second, watcher.register("b") as other:
        watcher.notify("a")
        watcher.notify("nobody")
        assert (first.is_set(), second.is_set(), other.is_set()) == (True, True, False)
    await watcher.stop()
    assert not watcher.running


async def test_one_that_dies_is_said_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    watcher = Sleeper()
    watcher.die = True
    with watcher.register("a"):
        watcher.start()
        await eventually(lambda: watcher.starts == 2, "it has started again")
    assert "the watcher of engine 'test' died" in caplog.text
    await watcher.stop()


async def test_cancelling_cancels_the_work() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(with_life(work(), lambda: None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_sign_of_life_that_raises_ends_the_wait() -> None:
    def dead() -> None:
        raise RuntimeError("the heartbeat is refused")

    with pytest.raises(RuntimeError, match="refused"):
        await with_life(asyncio.sleep(60), dead)
