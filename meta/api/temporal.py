"""Meta-runs in Temporal, which is the truth about running things."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistoryEventFilterType,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from meta.api.errors import by_code
from workflows.approvals import DECIDE
from workflows.decisions import Decide, Decided
from workflows.details import static_details, static_summary
from workflows.errors import Conflict, MetaError, NotFound, ServiceUnavailable
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, ErrorDetail, RunSnapshot, StartRun
from workflows.meta_run import RUN_FAILED
from workflows.outcome import RunState
from workflows.search import search_attributes
from workflows.starts import RunMemo

log = logging.getLogger(__name__)

RPC_TIMEOUT = timedelta(seconds=10)
QUERY_TIMEOUT = timedelta(seconds=2)  # a query needs a worker, and there may be none
UPDATE_TIMEOUT = timedelta(seconds=8)  # an update needs a worker, too; the client waits longer
_HINT = "is Temporal running? temporal.address in meta.toml says where it is looked for; `meta doctor` checks it"

_ABOUT_ONE_RUN = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.ALREADY_EXISTS)

_STATES = {
    WorkflowExecutionStatus.COMPLETED: RunState.SUCCEEDED,
    WorkflowExecutionStatus.FAILED: RunState.FAILED,
    WorkflowExecutionStatus.TIMED_OUT: RunState.FAILED,
    WorkflowExecutionStatus.CANCELED: RunState.CANCELED,
    WorkflowExecutionStatus.TERMINATED: RunState.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Gone:
    """A run that has ended without a last word from its workflow."""

    state: RunState
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Existence:
    """How a meta-run stands.

    Attributes:
        abrupt: it ended without its workflow's doing (terminated, timed out in Temporal), so that nobody has ended its
            engine runs. A workflow that ends by itself has seen them ended.
        ended_at: None while it runs.
    """

    state: RunState
    abrupt: bool
    started_at: datetime | None
    ended_at: datetime | None


class TemporalRuns:
    """Starts, looks at and cancels the workflows of meta-runs.

    All methods raise `ServiceUnavailable` when Temporal does not answer.
    """

    def __init__(self, client: Client, ui_url: str = "") -> None:
        self._client = client
        self._ui_url = ui_url.rstrip("/")
        self._namespace_id = ""

    @property
    def client(self) -> Client:
        """For what is no meta-run: schedules, backfills."""
        return self._client

    @classmethod
    async def open(cls, address: str, namespace: str, ui_url: str = "", runtime: Runtime | None = None) -> TemporalRuns:
        """Prepare a client; it connects at the first call, so that the service starts before Temporal does."""
        client = await Client.connect(
            address, namespace=namespace, data_converter=pydantic_data_converter, lazy=True, runtime=runtime
        )
        return cls(client, ui_url)

    def url(self, run_id: str) -> str:
        """Page of a run in Temporal's Web UI; empty when none is configured."""
        return f"{self._ui_url}/namespaces/{self._client.namespace}/workflows/{run_id}" if self._ui_url else ""

    async def namespace_id(self, *, fresh: bool = False) -> str:
        """Id of the namespace, which another Temporal's namespace of the same name does not share.

        Args:
            fresh: ask again, in case that another Temporal has taken the address; else it is asked once.
        """
        if fresh or not self._namespace_id:
            request = DescribeNamespaceRequest(namespace=self._client.namespace)
            with unavailable():
                found = await self._client.workflow_service.describe_namespace(request, timeout=RPC_TIMEOUT)
            self._namespace_id = found.namespace_info.id
        return self._namespace_id

    async def start(self, run_id: str, start: StartRun, memo: RunMemo) -> bool:
        """Start a run.

        Returns:
            False if a run of this id was started before, whether it has ended or not.
        """
        try:
            await self._start(run_id, start, memo, search_attributes(start))
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _start(
        self, run_id: str, start: StartRun, memo: RunMemo, attributes: TypedSearchAttributes | None
    ) -> None:
        try:
            with unavailable():
                await self._client.start_workflow(
                    WORKFLOW_TYPE,
                    start,
                    id=run_id,
                    task_queue=TASK_QUEUE,
                    # Refusing (where USE_EXISTING would hand over the other run) tells us whether this call made it.
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    memo=memo.model_dump(),
                    search_attributes=attributes,
                    static_summary=static_summary(start) or None,
                    static_details=static_details(start),
                    rpc_timeout=RPC_TIMEOUT,
                )
        except RPCError as error:
            if attributes is None or error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            # Not registered yet: the first worker does so when it starts, and the workflow then sets them itself.
            log.info("starting %s without search attributes: %s", run_id, error.message)
            await self._start(run_id, start, memo, None)

    async def memo(self, run_id: str) -> RunMemo:
        """What a run was started with.

        Raises:
            NotFound: Temporal has no such meta-run.
        """
        return await self._memo(await self._describe(run_id))

    async def look(self, run_id: str) -> RunSnapshot:
        """A run that the store does not know: its own word when a worker can be asked, else what Temporal knows.

        Raises:
            NotFound: Temporal has no such meta-run.
        """
        description = await self._describe(run_id)
        memo = await self._memo(description)
        state = _STATES.get(description.status or WorkflowExecutionStatus.RUNNING, RunState.RUNNING)
        blank = RunSnapshot(
            id=run_id,
            state=state,
            started_at=description.start_time,
            finished_at=description.close_time,
            **memo.model_dump(exclude={"inputs_digest"}),
        )
        return await self._asked(run_id) or blank

    async def existence(self, run_id: str) -> Existence | None:
        """How a meta-run stands; None when Temporal has no such run, or no longer. Reads what was just written."""
        try:
            description = await self._describe(run_id)
        except NotFound:
            return None
        status = description.status or WorkflowExecutionStatus.RUNNING
        return Existence(
            state=_STATES.get(status, RunState.RUNNING),
            abrupt=status in (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT),
            started_at=description.start_time,
            ended_at=description.close_time,
        )

    async def asked(self, run_id: str) -> RunSnapshot | None:
        """A running meta-run's own word; None when no worker can be asked just now.

        Raises:
            ServiceUnavailable: never; a Temporal that does not answer reads as None too.
        """
        return await self._asked(run_id)

    async def last_word(self, run_id: str) -> RunSnapshot | Gone | None:
        """How a run ended; None while it goes on."""
        try:
            description = await self._describe(run_id)
        except NotFound as error:
            return Gone(RunState.TERMINATED, f"Temporal no longer knows this run ({error.message})", datetime.now(UTC))
        state = _STATES.get(description.status or WorkflowExecutionStatus.RUNNING)
        if state is None:
            return None
        gone = Gone(state, "", description.close_time or datetime.now(UTC))
        if description.status is WorkflowExecutionStatus.TIMED_OUT:
            return Gone(state, "timed out in Temporal", gone.at)
        if state is RunState.CANCELED:
            word = await self._asked(run_id)
            return word if word is not None and word.state.ended else Gone(state, "cancelled", gone.at)
        return await self._result(run_id, gone)

    async def cancel(self, run_id: str, reason: str) -> bool:
        """Ask a run to end.

        Returns:
            False when it had ended.

        Raises:
            NotFound: Temporal has no such meta-run.
        """
        description = await self._describe(run_id)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return False
        try:
            with unavailable():
                await self._handle(run_id).cancel(reason=reason, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # it ended between the two calls
                return False
            raise
        return True

    async def decide(self, run_id: str, message: Decide) -> Decided | None:
        """Tell a run what somebody has decided.

        Returns:
            What its workflow says; None when the run has ended, or Temporal does not know it.

        Raises:
            MetaError: the workflow refuses: no such approval, not allowed, decided otherwise.
            ServiceUnavailable: no worker took it in time. It may still be taken; to say the same again is safe.
        """
        try:
            with unavailable():
                return await self._handle(run_id).execute_update(
                    DECIDE, message, result_type=Decided, rpc_timeout=UPDATE_TIMEOUT
                )
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise ServiceUnavailable(
                f"no worker has taken the decision within {UPDATE_TIMEOUT.total_seconds():g} s",
                hint="is a worker running? to decide the same again is safe: `meta get` shows whether it has arrived",
            ) from error
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                return None
            raise

    def _handle(self, run_id: str) -> WorkflowHandle[object, RunSnapshot]:
        return self._client.get_workflow_handle(run_id, result_type=RunSnapshot)

    async def _describe(self, run_id: str) -> WorkflowExecutionDescription:
        missing = NotFound(f"no run {run_id!r}", hint="`meta list` shows the runs there are")
        try:
            with unavailable():
                description = await self._handle(run_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise missing from error
            raise
        if description.workflow_type != WORKFLOW_TYPE:
            raise missing
        return description

    async def _memo(self, description: WorkflowExecutionDescription) -> RunMemo:
        try:
            return RunMemo.model_validate(dict(await description.memo()))
        except ValidationError:
            # started by other means than this service, say by hand; there is nothing to compare with
            return RunMemo(workflow=description.id.rpartition("-")[0], inputs_digest="", bundle_digest="")

    async def _asked(self, run_id: str) -> RunSnapshot | None:
        """The workflow's own answer; None when no worker gives one in time."""
        try:
            return await self._handle(run_id).query("state", result_type=RunSnapshot, rpc_timeout=QUERY_TIMEOUT)
        except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            log.info("run %s does not answer a query: %s", run_id, error)
            return None

    async def _result(self, run_id: str, gone: Gone) -> RunSnapshot | Gone:
        try:
            with unavailable():
                return await self._handle(run_id).result(rpc_timeout=RPC_TIMEOUT)
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, TerminatedError):
                reason = await self._why_terminated(run_id)
                return Gone(gone.state, f"terminated in Temporal: {reason or cause.message}", gone.at)
            if isinstance(cause, ApplicationError):
                return _snapshot_of(cause) or Gone(gone.state, cause.message, gone.at)
            return Gone(gone.state, str(cause), gone.at)
        except (ValidationError, TypeError, ValueError) as error:
            return Gone(gone.state, f"the result cannot be read: {error}", gone.at)

    async def _why_terminated(self, run_id: str) -> str:
        """What the person wrote; the SDK's error does not carry it, the last event does."""
        with unavailable():
            last = self._handle(run_id).fetch_history_events(
                event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT, rpc_timeout=RPC_TIMEOUT
            )
            async for event in last:
                return event.workflow_execution_terminated_event_attributes.reason
        return ""


def _refusal(failure: WorkflowUpdateFailedError) -> MetaError:
    """The workflow's own error."""
    cause = failure.cause
    if not isinstance(cause, ApplicationError) or not cause.details:
        return Conflict(f"the run cannot take a decision: {cause}", hint="`meta get` shows what it asks")
    detail = ErrorDetail.model_validate(cause.details[0])
    return by_code().get(detail.code, Conflict)(detail.message, hint=detail.hint)


def _snapshot_of(failure: ApplicationError) -> RunSnapshot | None:
    """The last snapshot, which a failed run's error carries."""
    if failure.type != RUN_FAILED or not failure.details:
        return None
    try:
        return RunSnapshot.model_validate(ErrorDetail.model_validate(failure.details[0]).value)
    except ValidationError as error:
        log.warning("a failed run's detail cannot be read: %s", error)
        return None


@contextmanager
def unavailable() -> Generator[None]:
    """Say that Temporal does not answer; its answers about one run pass through."""
    try:
        yield
    except RPCError as error:
        no_namespace = error.status is RPCStatusCode.NOT_FOUND and "namespace" in error.message.lower()
        if error.status in _ABOUT_ONE_RUN and not no_namespace:
            raise
        raise ServiceUnavailable(f"Temporal: {error.message}", hint=_HINT) from error
    except RuntimeError as error:  # what the SDK raises when nobody listens
        raise ServiceUnavailable(f"Temporal does not answer: {error}", hint=_HINT) from error
    except TimeoutError as error:
        raise ServiceUnavailable("Temporal did not answer in time", hint=_HINT) from error
