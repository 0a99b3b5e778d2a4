"""Backfills in Temporal: each is a workflow of its own, whose memo says what it runs and whose query how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from meta.api.temporal import QUERY_TIMEOUT, RPC_TIMEOUT, TemporalRuns, unavailable
from workflows.backfill import BACKFILL_FAILED
from workflows.child_messages import BACKFILL_TYPE, BackfillPlan, BackfillProgress, StartBackfill
from workflows.errors import Conflict, NotFound
from workflows.messages import TASK_QUEUE, ErrorDetail
from workflows.naming import request_run_id
from workflows.planned import rfc3339

MOST = 50
"""Backfills that a list shows, the newest ones."""

_MEMO = "plan"
_STATES = {
    WorkflowExecutionStatus.COMPLETED: "succeeded",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TIMED_OUT: "failed",
    WorkflowExecutionStatus.CANCELED: "canceled",
    WorkflowExecutionStatus.TERMINATED: "canceled",
}


@dataclass(frozen=True, slots=True)
class BackfillStanding:
    """A backfill and how it stands.

    Attributes:
        state: running, paused, succeeded, failed, canceled.
        progress: None when no worker answers.
    """

    id: str
    plan: BackfillPlan
    state: str
    progress: BackfillProgress | None


def backfill_id(plan: BackfillPlan) -> str:
    """The same for the same stretch of time and inputs: asking twice is one backfill, as long as that goes on."""
    asked = plan.model_dump_json(exclude={"bundle_digest", "parallelism"})
    return "backfill-" + request_run_id(plan.workflow, asked)


class Backfills:
    """Starts, looks at and steers backfills. All methods raise `ServiceUnavailable` when Temporal does not answer."""

    def __init__(self, temporal: TemporalRuns) -> None:
        self._client = temporal.client

    async def start(self, plan: BackfillPlan) -> str:
        """Start one, or find the same one that goes on.

        Returns:
            Its id.
        """
        found = backfill_id(plan)
        with unavailable():
            await self._client.start_workflow(
                BACKFILL_TYPE,
                StartBackfill(plan=plan),
                id=found,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                memo={_MEMO: plan.model_dump(mode="json")},
                static_summary=f"{plan.workflow} from {rfc3339(plan.start)} to {rfc3339(plan.end)}",
                rpc_timeout=RPC_TIMEOUT,
            )
        return found

    async def list(self, workflow: str = "") -> Sequence[BackfillStanding]:
        """The newest ones, those that go on among them; a list of Temporal's may lag a moment behind."""
        # Each execution that an earlier one has become would stand in the list too.
        query = f"WorkflowType = '{BACKFILL_TYPE}' AND ExecutionStatus != 'ContinuedAsNew'"
        with unavailable():
            listed = self._client.list_workflows(query, rpc_timeout=RPC_TIMEOUT, limit=MOST * 4)
            found = [one async for one in listed]
        standings = await asyncio.gather(*(self._standing(one) for one in found))
        kept = [one for one in standings if one is not None and workflow in ("", one.plan.workflow)]
        return kept[:MOST]

    async def get(self, found: str) -> BackfillStanding:
        """One of them.

        Raises:
            NotFound: there is none of this id.
        """
        missing = NotFound(f"no backfill {found!r}", hint="`meta backfill list` shows those there are")
        try:
            with unavailable():
                description = await self._handle(found).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise missing from error
            raise
        if description.workflow_type != BACKFILL_TYPE or (standing := await self._standing(description)) is None:
            raise missing
        return standing

    async def pause(self, found: str) -> None:
        """No further partition begins.

        Raises:
            NotFound: there is none of this id.
            Conflict: it has ended.
        """
        await self._signal(found, "pause")

    async def resume(self, found: str) -> None:
        """Partitions begin again; raises as `pause`."""
        await self._signal(found, "resume")

    async def cancel(self, found: str) -> None:
        """End it, and before that the runs of its partitions. Nothing happens to one that has ended.

        Raises:
            NotFound: there is none of this id.
        """
        if (await self.get(found)).state in ("running", "paused"):
            try:
                with unavailable():
                    await self._handle(found).cancel(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:  # it ended between the two calls
                    raise

    async def _signal(self, found: str, name: str) -> None:
        standing = await self.get(found)
        hint = "start it again: partitions that are done are skipped"
        if standing.state not in ("running", "paused"):
            raise Conflict(f"backfill {found} has {standing.state.replace('canceled', 'been canceled')}", hint=hint)
        try:
            with unavailable():
                await self._handle(found).signal(name, "", rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise Conflict(f"backfill {found} has ended meanwhile", hint=hint) from error

    def _handle(self, found: str) -> WorkflowHandle[object, BackfillProgress]:
        return self._client.get_workflow_handle(found, result_type=BackfillProgress)

    async def _standing(self, execution: WorkflowExecution) -> BackfillStanding | None:
        try:
            plan = BackfillPlan.model_validate((await execution.memo()).get(_MEMO))
        except ValidationError:  # started by other means than this service
            return None
        state = _STATES.get(execution.status or WorkflowExecutionStatus.RUNNING, "running")
        progress = await self._progress(execution, state)
        if state == "running" and progress is not None and progress.paused:
            state = "paused"
        return BackfillStanding(execution.id, plan, state, progress)

    async def _progress(self, execution: WorkflowExecution, state: str) -> BackfillProgress | None:
        """How far it is: by its last word where it has one, else by asking it."""
        handle = self._client.get_workflow_handle(execution.id, run_id=execution.run_id, result_type=BackfillProgress)
        try:
            if state in ("succeeded", "failed"):
                with unavailable():
                    return await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
            return await handle.query("progress", result_type=BackfillProgress, rpc_timeout=QUERY_TIMEOUT)
        except WorkflowFailureError as error:
            return _last_word(error.cause)
        except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError):
            return None


def _last_word(cause: BaseException | None) -> BackfillProgress | None:
    if not isinstance(cause, ApplicationError) or cause.type != BACKFILL_FAILED or not cause.details:
        return None
    try:
        return BackfillProgress.model_validate(ErrorDetail.model_validate(cause.details[0]).value)
    except ValidationError:
        return None
