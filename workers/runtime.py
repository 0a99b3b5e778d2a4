"""A worker process: one Temporal worker for workflows and short activities, one for waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from workers.activities import Activities
from workers.interceptor import ErrorInterceptor
from workers.log_interceptor import LogInterceptor
from workers.work import WorkInterceptor
from workflows.backfill import MetaBackfill
from workflows.chunk_run import MetaChunk
from workflows.errors import SettingsInvalid
from workflows.messages import TASK_QUEUE, WAIT_TASK_QUEUE
from workflows.meta_run import MetaRun
from workflows.search import KEYS
from workflows.tick import MetaTick

log = logging.getLogger(__name__)

PASSED_THROUGH = ("pydantic", "pydantic_core", "workflows", "annotated_types", "typing_extensions")
"""Pure modules that the workflow sandbox need not import again for each run."""


WORKFLOWS = (MetaRun, MetaChunk, MetaTick, MetaBackfill)
"""All that a worker runs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one worker process does at a time, and how it stops.

    Attributes:
        wait_slots: engine runs that are waited for.
        activity_slots: short activities.
        shutdown_grace_s: seconds that activities may take to end by themselves.
        shutdown_limit_s: seconds after that in which Temporal's workers must have stopped, else they are left.
    """

    wait_slots: int = 2000
    activity_slots: int = 100
    shutdown_grace_s: float = 10.0
    shutdown_limit_s: float = 30.0


async def connect(address: str, namespace: str, runtime: Runtime | None = None) -> Client:
    """Connect to Temporal, waiting for it as long as it takes.

    Args:
        address: host:port of the frontend.
        namespace: must exist.
        runtime: of the SDK, where its metrics are wanted; None: the process's own.
    """
    delay = 0.2
    while True:
        try:
            return await Client.connect(
                address, namespace=namespace, data_converter=pydantic_data_converter, runtime=runtime
            )
        except RuntimeError as error:  # what the SDK raises when nobody listens
            log.warning("Temporal at %s does not answer yet: %s", address, error)
        await asyncio.sleep(delay)
        delay = min(delay * 2, 5.0)


async def register_search_attributes(client: Client) -> None:
    """Make sure that our search attributes exist.

    Temporal Cloud has no operator's service: there they are registered in its console.

    Raises:
        SettingsInvalid: one of them exists with another type.
        RPCError: they are missing, and this client may not register them.
    """
    service, namespace = client.operator_service, client.namespace
    try:
        known = await service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    except RPCError as error:
        if error.status not in (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED):
            raise
        names = ", ".join(key.name for key in KEYS)
        log.warning("Temporal does not say which search attributes it has; runs need these: %s", names)
        return
    for key in KEYS:
        wanted = IndexedValueType.ValueType(key.indexed_value_type)
        there = known.custom_attributes.get(key.name, wanted)
        if there != wanted:
            names = {number: name.rpartition("_TYPE_")[2] for name, number in IndexedValueType.items()}
            raise SettingsInvalid(
                f"Temporal's search attribute {key.name} is of type {names[there]}, not {names[wanted]}",
                hint=f"remove it: temporal operator search-attribute remove --name {key.name} -n {namespace}",
            )
        if key.name in known.custom_attributes:
            continue
        request = AddSearchAttributesRequest(namespace=namespace, search_attributes={key.name: wanted})
        try:
            await service.add_search_attributes(request)
        except RPCError as error:  # another worker was first
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise


def workflow_runner() -> SandboxedWorkflowRunner:
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))


@asynccontextmanager
async def run_workers(client: Client, activities: Activities, sizes: Sizes) -> AsyncGenerator[None]:
    """Run both workers; leaving the context stops them, and no engine run with them."""
    grace = timedelta(seconds=sizes.shutdown_grace_s)
    interceptors = [LogInterceptor(), ErrorInterceptor(), WorkInterceptor(activities.recorder)]  # from the outside in
    control = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=list(WORKFLOWS),
        activities=activities.control(),
        workflow_runner=workflow_runner(),
        interceptors=interceptors,
        max_concurrent_activities=sizes.activity_slots,
        graceful_shutdown_timeout=grace,
    )
    waits = Worker(
        client,
        task_queue=WAIT_TASK_QUEUE,
        activities=activities.waits(),
        interceptors=interceptors,
        max_concurrent_activities=sizes.wait_slots,
        graceful_shutdown_timeout=timedelta(0),  # a wait has nothing to finish: the next worker takes it over
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(control)
        await stack.enter_async_context(waits)
        stack.push_async_callback(_stop, stack, (control, waits), sizes.shutdown_grace_s + sizes.shutdown_limit_s)
        yield


async def _stop(stack: AsyncExitStack, workers: Sequence[Worker], limit_s: float) -> None:
    """Stop workers; those that do not stop are taken from the stack, which would wait for them for ever.

    That happens to the SDK now and then, and what an activity does is its own affair. Nothing is lost: the next worker
    takes over what this one has not told.
    """
    stopping = [asyncio.create_task(worker.shutdown(), name="stop") for worker in workers]
    _, hanging = await asyncio.wait(stopping, timeout=limit_s)
    if hanging:
        log.error("a worker does not stop within %g s; it is left, and ends with its process", limit_s)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        stack.pop_all()
