"""Items in the store: written again and again, read by page and as lists; their attempts are no news of the step."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meta.store import Store
from workflows.fanout_messages import ItemRecord
from workflows.messages import ItemCounts, RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, Outcome, StepKind, StepState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as opened:
        yield opened


def ref(name: str) -> EngineRunRef:
    return EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=name, uid=f"uid-{name}")


def item(place: int, state: StepState = StepState.SUCCEEDED) -> ItemRecord:
    model = Artifact(name="model", uri=f"s3://b/{place}")
    return ItemRecord(
        position=place, state=state, attempt=1, item=None if place == 1 else place, outputs={"x": place},
        artifacts={"model": model},
    )  # fmt: skip


async def test_the_last_telling_of_an_item_counts_and_pages_go_on_where_they_ended(store: Store) -> None:
    await store.record_items("run-1", "train", [item(2, StepState.FAILED), item(1)])
    await store.record_items("run-1", "train", [item(2), item(4, StepState.FAILED)])
    assert await store.items.page("run-1", "train") == [item(1), item(2), item(4, StepState.FAILED)]
    assert [one.position for one in await store.items.page("run-1", "train", after=1, limit=1)] == [2]
    assert await store.items.page("run-1", "train", state=StepState.FAILED) == [item(4, StepState.FAILED)]
    lists = await store.item_lists("run-1", "train", 4)
    assert lists.outputs == {"x": [1, 2, None, None]}
    assert [one.uri if one else None for one in lists.artifacts["model"]] == ["s3://b/1", "s3://b/2", None, None]


async def test_attempts_of_items_leave_the_step_as_the_workflow_tells_it(store: Store) -> None:
    step = StepSnapshot(
        name="train", kind=StepKind.ARGO, engine="argo", state=StepState.RUNNING, attempt=1,
        items=ItemCounts(total=2, running=2),
    )  # fmt: skip
    await store.snapshot(RunSnapshot(id="run-1", workflow="chain", bundle_digest="sha256:0", steps=[step]))
    revision = (await store.runs.revisions(["run-1"]))["run-1"]
    for index, attempt in ((1, 1), (2, 1), (2, 2)):
        key = RunKey(meta_run="run-1", step="train", index=index, attempt=attempt)
        await store.attempt_submitted("chain", key, ref(f"r{index}{attempt}"), NOW)
    first = RunKey(meta_run="run-1", step="train", index=1)
    await store.attempt_ended("chain", first, ref("r11"), Outcome(outputs={"x": 1}), NOW)
    assert (await store.runs.get("run-1")).steps == [step]
    assert (await store.runs.revisions(["run-1"]))["run-1"] == revision
    runs = await store.items.engine_runs("run-1", "train")
    assert {place: run.name for place, run in runs.items()} == {1: "r11", 2: "r22"}
    awaited = await store.engine_runs.awaited("argo", None, 10)
    assert [(one.index, one.ref.name) for one in awaited] == [(2, "r22")]


async def test_an_item_told_before_its_run_is_known_makes_the_run_known(store: Store) -> None:
    key = RunKey(meta_run="run-2", step="train", index=3)
    await store.attempt_submitted("chain", key, ref("r"), NOW)
    run = await store.runs.get("run-2")
    assert (run.workflow, run.steps) == ("chain", [])
