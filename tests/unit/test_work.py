"""Which tries of activities are told, and under which key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from tests.support.memory import MemoryStore
from workers.ports import KEPT_TRIES
from workers.work import MAX_MESSAGE, WorkInterceptor, key_of
from workflows.errors import EngineFull, EngineUnavailable
from workflows.messages import Activity, RunSnapshot, StageArtifacts, TerminateStep, WaitStep
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef

KEY = RunKey(meta_run="chain-1", step="train", attempt=2)
REF = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="n", uid="u")
WAIT = WaitStep(definition_name="chain", key=KEY, ref=REF)
STAGE = StageArtifacts(step="train", engine="argo", artifacts={})


class Work(ActivityInboundInterceptor):
    """An activity that ends as it is told."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if self.error is not None:
            raise self.error
        return "done"


async def run(kind: Activity, message: object, error: Exception | None = None, number: int = 1) -> MemoryStore:
    """Let an activity run once; what it tells."""
    store, environment = MemoryStore(), ActivityEnvironment()
    environment.info = replace(environment.info, activity_type=kind.value, attempt=number, workflow_id="chain-1")
    intercepted = WorkInterceptor(store).intercept_activity(Work(error))
    given = ExecuteActivityInput(fn=print, args=[message], executor=None, headers={})
    try:
        assert await environment.run(intercepted.execute_activity, given) == "done"
    except Exception as raised:
        assert raised is error, "an error leaves as it came"
    return store


async def test_a_try_that_failed_is_told_with_its_code_and_a_message_of_bounded_length() -> None:
    (work,) = (await run(Activity.WAIT, WAIT, EngineUnavailable("x" * 10_000), number=3)).work
    assert (work.key, work.what, work.number, work.code) == (KEY, "wait", 3, "ENGINE_UNAVAILABLE")
    assert work.message == "x" * MAX_MESSAGE
    assert work.started_at <= work.ended_at


@pytest.mark.parametrize(
    ("error", "code"), [(ApplicationError("no", type="ODD"), "ODD"), (ZeroDivisionError("oops"), "ZeroDivisionError")]
)
async def test_errors_of_others_are_told_by_their_names(error: Exception, code: str) -> None:
    (work,) = (await run(Activity.WAIT, WAIT, error)).work
    assert work.code == code


async def test_success_is_told_only_of_what_leaves_no_other_record() -> None:
    assert (await run(Activity.WAIT, WAIT)).work == []
    (copied,) = (await run(Activity.STAGE, STAGE)).work
    assert (copied.key, copied.what, copied.code) == (
        RunKey(meta_run="chain-1", step="train", attempt=0),
        Activity.STAGE,
        "",
    )


async def test_a_submit_that_waits_for_a_slot_for_long_is_not_told_each_time() -> None:
    error = EngineFull("2 of 2 runs are under way")
    assert len((await run(Activity.WAIT, WAIT, error, number=KEPT_TRIES)).work) == 1
    assert (await run(Activity.WAIT, WAIT, error, number=KEPT_TRIES + 1)).work == []


def test_ending_an_engine_run_belongs_to_the_attempt_that_is_ended_and_not_to_the_one_that_made_the_run() -> None:
    made = KEY.model_copy(update={"attempt": 1})
    assert key_of(TerminateStep(engine="argo", key=made, name="n", attempt=KEY), "chain-1") == KEY
    assert key_of(TerminateStep(engine="argo", key=made, name="n"), "chain-1") == made


def test_what_has_no_place_in_a_trace_is_not_told() -> None:
    assert key_of(RunSnapshot(id="chain-1", workflow="chain", bundle_digest="d"), "chain-1") is None
