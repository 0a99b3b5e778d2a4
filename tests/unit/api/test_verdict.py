from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meta.api.sweep import AGAIN_S, EVERY_S
from meta.api.temporal import Existence
from meta.api.verdict import SLACK, SWEPT, Owner, Reason, judge
from workers.engines.base import OurRun
from workflows.messages import StepSnapshot
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import EngineKind, EngineRunRef, RunState, StepKind, StepState

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(hours=1)
LIVE = Existence(RunState.RUNNING, abrupt=False, started_at=BEGAN, ended_at=None)
TERMINATED = Existence(RunState.TERMINATED, abrupt=True, started_at=BEGAN, ended_at=ENDED)
FAILED = Existence(RunState.FAILED, abrupt=False, started_at=BEGAN, ended_at=ENDED)


def ref(attempt: int = 1, uid: str = "") -> EngineRunRef:
    name = engine_run_name("chain", RunKey(meta_run="chain-1", step="train", attempt=attempt))
    return EngineRunRef(engine="argo", kind=EngineKind.ARGO, name=name, uid=uid or f"uid-{attempt}")


def run(attempt: int = 1, uid: str = "", created_at: datetime | None = BEGAN + timedelta(minutes=1)) -> OurRun:
    return OurRun(f"chain-1/train/0/{attempt}", ref(attempt, uid), "Running", created_at)


def step(current: EngineRunRef | None, attempt: int = 1, state: StepState = StepState.RUNNING) -> StepSnapshot:
    return StepSnapshot(name="train", kind=StepKind.ARGO, engine="argo", state=state, attempt=attempt, run=current)


DONE = StepState.SUCCEEDED


@pytest.mark.parametrize(
    ("found", "owner", "reason"),
    [
        (run(), Owner(LIVE, step(ref()), adopted=True), None),
        (run(), Owner(LIVE, step(ref(), attempt=2), adopted=True), None),  # resumed, or about to be
        (run(), Owner(LIVE, step(None)), None),  # being submitted
        (run(2), Owner(LIVE, step(ref(1), attempt=2)), None),  # likewise; the first attempt's run still stands there
        (run(3), Owner(LIVE, step(ref(1), attempt=2)), None),  # newer than what we were told
        (run(), Owner(LIVE, None), None),  # nobody can be asked
        (run(uid="other"), Owner(LIVE, step(ref())), Reason.DUPLICATE),
        (run(1), Owner(LIVE, step(ref(2), attempt=2)), Reason.SUPERSEDED),
        (run(1), Owner(LIVE, step(ref(2), attempt=2), adopted=True), Reason.SUPERSEDED),
        (run(1), Owner(LIVE, step(ref(2), attempt=2), adopted=True, ended_before=True), Reason.BY_HAND),
        (run(), Owner(LIVE, step(ref(), state=DONE), adopted=True, ended_before=True), Reason.BY_HAND),
        (run(), Owner(LIVE, step(ref(), state=DONE), adopted=True), Reason.BY_HAND),  # the workflow saw it ended
        (run(uid="other"), Owner(LIVE, step(ref(), state=DONE)), Reason.STEP_ENDED),
        (run(), Owner(TERMINATED, adopted=True), Reason.RUN_ENDED),
        (run(), Owner(TERMINATED), Reason.RUN_ENDED),  # the submit's answer was still under way
        (run(), Owner(TERMINATED, adopted=True, ended_before=True), Reason.BY_HAND),
        (run(), Owner(FAILED), Reason.RUN_ENDED),
        (run(), Owner(FAILED, adopted=True), Reason.BY_HAND),
        (run(), Owner(None), Reason.UNKNOWN),
        (run(created_at=None), Owner(TERMINATED), Reason.RUN_ENDED),
    ],
)
def test_what_an_engine_run_is_to_its_meta_run(found: OurRun, owner: Owner, reason: Reason | None) -> None:
    assert judge(found, owner) is reason


@pytest.mark.parametrize("existence", [TERMINATED, FAILED])
@pytest.mark.parametrize("apart", [timedelta(seconds=1), SLACK + timedelta(seconds=1)])
def test_a_run_of_another_time_is_another_installations(existence: Existence, apart: timedelta) -> None:
    reason = Reason.NOT_ITS_TIME if apart > SLACK else Reason.RUN_ENDED
    assert judge(run(created_at=BEGAN - apart), Owner(existence)) is reason
    assert judge(run(created_at=ENDED + apart), Owner(existence)) is reason


def test_a_run_that_was_adopted_is_ours_whatever_the_clocks_say() -> None:
    assert judge(run(created_at=BEGAN - timedelta(days=1)), Owner(TERMINATED, adopted=True)) is Reason.RUN_ENDED


@pytest.mark.parametrize("key", ["", "chain", "chain-1/train/0", "chain-1/train/x/1", "/train/0/1"])
def test_a_key_that_cannot_be_read_is_never_swept(key: str) -> None:
    reason = judge(OurRun(key, ref(), "Running"), Owner(TERMINATED))
    assert reason is Reason.UNREADABLE
    assert reason not in SWEPT


def test_what_people_started_or_others_own_is_not_swept() -> None:
    assert {Reason.BY_HAND, Reason.UNKNOWN, Reason.NOT_ITS_TIME, Reason.UNREADABLE}.isdisjoint(SWEPT)


def test_the_page_on_orphans_has_every_reason_and_whether_it_is_swept() -> None:
    page = (Path(__file__).parents[3] / "docs" / "orphans.md").read_text()
    words = " ".join(page.split())
    rows = re.findall(r"^\| `([^`]+)` \|.*\| (yes|no) \|$", page, re.MULTILINE)
    assert dict(rows) == {reason.value: "yes" if reason in SWEPT else "no" for reason in Reason}
    assert EVERY_S == 30
    assert "Every half minute" in words
    assert AGAIN_S == 20
    assert "twenty seconds later" in words
    assert SLACK == timedelta(minutes=10)
    assert "ten minutes" in words
