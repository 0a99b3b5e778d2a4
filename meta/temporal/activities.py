"""What a call does on the user's worker: start a meta-run once, follow it to its end, end it when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from meta.client import MetaClient
from meta.temporal.request import END_ACTIVITY, RUN_ACTIVITY, Request
from meta.temporal.results import result_of
from workflows.bundle import Bundle, bundle_of
from workflows.errors import Conflict, DefinitionInvalid, MetaError, NotFound, ServiceUnavailable
from workflows.spec.loading import parse_value
from workflows.spec.locate import NOWHERE

log = logging.getLogger(__name__)

BEAT_S = 5.0
SETTLE_S = 15.0
"""How long a start whose answer nobody has may take to land: longer than the service's own request to Temporal."""

STOPS = "META_WORKER_STOPS"
"""Type of the failure of a try whose worker stops before the run has ended."""

_REST_S = 1.0
_FOR_EVER_S = 10 * 365 * 24 * 3600.0


class MetaActivities:
    """The two activities of `MetaPlugin`.

    Args:
        address: host:port of the service's gRPC.
        files: folder of the files that calls name.
        patience_s: seconds to wait for a service that does not answer, before a try is given up and made again.
    """

    def __init__(self, address: str, files: Path, patience_s: float = 10.0) -> None:
        self._address = address
        self._files = files
        self._patience_s = patience_s

    @activity.defn(name=RUN_ACTIVITY)
    async def run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Start the run that a call asks for, unless an earlier try did; wait for its end.

        Returns:
            A `Result` as JSON; `{"cancelled": true}` when the call was cancelled and its run has ended.

        Raises:
            ApplicationError: the run did not succeed, or cannot be started; see `meta.temporal.calls`.
        """
        request = Request.model_validate(asked)
        async with _beating(request.run_id), MetaClient(self._address, patience_s=self._patience_s) as client:
            starting = asyncio.ensure_future(self._start(client, request))
            try:
                await asyncio.shield(starting)
                ended = await client.wait(request.run_id)
            except asyncio.CancelledError:
                with suppress(MetaError):
                    await starting  # what is under way is let through: then it is known what there is to end
                if not await _is_over():
                    # A cancellation would be the workflow's own to Temporal; a failure is tried again elsewhere.
                    raise ApplicationError("this worker stops; the call goes on at another one", type=STOPS) from None
                await self._end(request, settle_s=0.0 if _started(starting) else SETTLE_S)
                return {"cancelled": True}
            except MetaError as error:
                raise _failure(error) from error
        return result_of(ended, request.step).model_dump(mode="json", exclude_defaults=True)

    @activity.defn(name=END_ACTIVITY)
    async def end(self, asked: dict[str, Any]) -> None:
        """End the run of a call whose own activity could not do it, and wait for its end."""
        request = Request.model_validate(asked)
        async with _beating(request.run_id):
            try:
                await self._end(request, settle_s=SETTLE_S)
            except MetaError as error:
                raise _failure(error) from error

    async def _start(self, client: MetaClient, request: Request) -> None:
        inputs = request.parameters
        target: str | Bundle = request.workflow
        if request.step:
            definition, inputs = request.definition()
            target = await asyncio.to_thread(bundle_of, parse_value(definition, NOWHERE), self._files)
        try:
            started = await client.start(target, inputs, request_id=request.request_id)
        except Conflict:
            # The files are others now than at an earlier try, as after a deployment of this worker. The run of that
            # try keeps what it was started with.
            known = await client.get(request.run_id)
            if known.request_id != request.request_id:
                raise
            log.warning("run %s goes on with the files that it was started with", request.run_id)
            return
        if started.id != request.run_id:
            raise Conflict(
                f"the service calls the run {started.id}, this worker {request.run_id}",
                hint="give worker and service the same version of meta-workflows",
            )

    async def _end(self, request: Request, *, settle_s: float) -> None:
        """Cancel the run and wait until it has ended, and with it all that it has at engines; however long it takes."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        info = activity.info()
        reason = f"its call in Temporal workflow {info.workflow_id} was cancelled"
        while True:
            try:
                async with MetaClient(self._address, patience_s=_FOR_EVER_S, watch_patience_s=_FOR_EVER_S) as client:
                    await client.cancel(request.run_id, reason)
                    await client.wait(request.run_id)
                return
            except NotFound:
                if loop.time() - begun >= settle_s:
                    return
            await asyncio.sleep(_REST_S)


def _started(starting: asyncio.Future[None]) -> bool:
    """Whether it is certain what the start came to: it was answered, in one way or the other."""
    error = starting.exception() if starting.done() and not starting.cancelled() else None
    return starting.done() and not starting.cancelled() and not isinstance(error, ServiceUnavailable)


async def _is_over() -> bool:
    """Whether nobody waits for the call any more.

    A worker that stops, a pause, or a try that counts as dead while another one goes on are no reason to end the run.
    """
    why = activity.cancellation_details()
    if why is None or why.cancel_requested:
        return why is not None
    if not why.not_found:
        return False
    # Either another try has taken over, or the workflow was terminated or reset.
    info = activity.info()
    handle = activity.client().get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
    try:
        description = await handle.describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return description.status is not WorkflowExecutionStatus.RUNNING


def _failure(error: MetaError) -> ApplicationError:
    """An error as the workflow sees it: with our code as its type; what may get better is tried again."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    detail: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, DefinitionInvalid):
        detail["problems"] = [str(problem) for problem in error.problems]
    return ApplicationError(message, detail, type=error.code, non_retryable=not error.retryable)


@asynccontextmanager
async def _beating(run_id: str) -> AsyncGenerator[None]:
    """Tell Temporal that this worker lives, and hear from it that the call is cancelled."""

    async def beat() -> None:
        while True:
            activity.heartbeat({"run_id": run_id})
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
