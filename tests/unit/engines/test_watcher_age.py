"""The age of a watcher's news, which grows while its engine does not answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.support.metrics import points, shared_reader
from workers import metrics
from workers.engines.waiting import Watcher


class Quiet(Watcher):
    """Hears nothing by itself."""

    async def run(self) -> None:
        await asyncio.Event().wait()


def age(engine: str) -> float | None:
    found = [
        value
        for name, attributes, value in points(shared_reader())
        if name == "meta.engine.watcher.age" and attributes.get("engine") == engine
    ]
    return found[0] if found else None


async def test_it_counts_from_the_last_answer_and_is_told_only_while_the_watcher_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now))
    watcher = Quiet("quiet")
    assert age("quiet") is None
    with watcher.register("run"):
        watcher.start()
        now += 400
        assert age("quiet") == 400, "silent since it began"
        watcher.start()
        assert age("quiet") == 400, "another wait is no answer"
        watcher.heard()
        now += 2
        assert age("quiet") == 2
    await watcher.stop()
    assert age("quiet") is None
