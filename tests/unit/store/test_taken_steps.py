"""What the store makes of successes that are kept, and of steps that one of them stands for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlmodel import col, func, select

from meta.store import Store
from meta.store.fold import fold_ended, fold_submitted
from meta.store.outgoing import Kind, happenings
from meta.store.tables import CachedStepRow
from tests.support.metrics import points, shared_reader
from tests.unit.store.test_store import AT, REF, snapshot
from workers.ports import CachedSuccess
from workflows.details import markdown
from workflows.messages import RunSnapshot, StepOutcome, StepSnapshot, Taken
from workflows.naming import RunKey
from workflows.outcome import Artifact, Outcome, StepKind, StepState

KEY = RunKey(meta_run="chain-1", step="prepare", attempt=1)
TAKEN = Taken(how="cache", run="chain-0", step="prepare", at=AT)


def taken_run() -> RunSnapshot:
    run = snapshot("chain-1")
    artifacts = {"ds": Artifact(name="ds", uri="s3://b/ds", sha256="ab")}
    changes = {
        "state": StepState.SUCCEEDED, "taken_from": TAKEN, "finished_at": AT, "started_at": AT, "outputs": {"rows": 7},
        "artifacts": artifacts,
    }  # fmt: skip
    first, *rest = run.steps
    return run.model_copy(update={"steps": [first.model_copy(update=changes), *rest]})


async def test_of_each_work_the_newest_success_is_kept_with_the_end_that_it_came_with(tmp_path: Path) -> None:
    def success(run: str, hours: int) -> CachedSuccess:
        key = KEY.model_copy(update={"meta_run": run})
        return CachedSuccess("sha256:w", key, StepOutcome(outputs={"run": run}), AT + timedelta(hours=hours))

    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        assert await store.cached("sha256:w") is None
        for run, hours in (("chain-2", 2), ("chain-3", 3), ("chain-1", 1), ("chain-3", 3)):
            one = success(run, hours)
            await store.attempt_ended("chain", one.by, REF, Outcome(), AT, success=one)
        found = await store.cached("sha256:w")
        assert found is not None
        assert (found.by.meta_run, found.outcome.outputs, found.ended_at) == (
            "chain-3", {"run": "chain-3"}, AT + timedelta(hours=3),
        )  # fmt: skip
        async with store.database.read() as session:
            assert (await session.exec(select(func.count(col(CachedStepRow.key))))).one() == 1


async def test_a_step_that_was_taken_is_counted_as_such_and_once(tmp_path: Path) -> None:
    def counted() -> float:
        found = points(shared_reader())
        return sum(value for name, by, value in found if name == "meta.steps.taken" and by["how"] == "cache")

    before = counted()
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        for _ in range(2):
            await store.snapshot(taken_run())
    assert counted() - before == 1


def test_its_event_names_the_run_and_tells_of_no_start_and_no_new_artifact() -> None:
    told = happenings(snapshot("chain-1"), taken_run(), ["prepare"], said=(), now=AT)
    assert [one.kind for one in told] == [Kind.STEP_SUCCEEDED]
    assert told[0].data["outputs"] == {"rows": 7}
    source = told[0].data["taken_from"]
    assert isinstance(source, dict)
    assert (source["how"], source["run"], source["step"]) == ("cache", "chain-0", "prepare")


def test_the_web_ui_says_whose_success_it_is() -> None:
    [line] = [line for line in markdown(taken_run()).splitlines() if line.startswith("| prepare")]
    assert "taken from run chain-0 (cache)" in line
    assert "rows = 7" in line


def test_a_note_from_before_the_first_attempt_stays_with_the_step() -> None:
    known = StepSnapshot(name="prepare", kind=StepKind.ARGO, engine="argo", note="cannot be cached")
    running = fold_submitted(known, "prepare", REF, 1, AT)
    ended = fold_ended(running, "prepare", REF, 1, outcome=Outcome(), at=AT)
    assert (running.note, ended.note, ended.state) == ("cannot be cached", "cannot be cached", StepState.SUCCEEDED)
    again = fold_submitted(running.model_copy(update={"state": StepState.FAILED}), "prepare", REF, 2, AT)
    assert again.note == ""
