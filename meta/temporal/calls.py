"""The calls: deterministic, to be awaited in a Temporal workflow whose worker has `MetaPlugin`.

A call is one activity on the workflow's own task queue (`meta.temporal.activities`), which starts a meta-run and
follows it to its end; so both forms of a chain share all that keeps an engine run from being started twice or left
behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, is_cancelled_exception

from meta.temporal.request import END_ACTIVITY, RUN_ACTIVITY, Request, step_name, workflow_name
from meta.temporal.results import Result
from workflows.dsl import sources
from workflows.dsl.references import TypeName, declared_outputs
from workflows.dsl.sources import Cache, Retry, Runs
from workflows.dsl.templates import Duration, keys, plain
from workflows.outcome import Artifact
from workflows.values import JsonObject

HEARTBEAT_TIMEOUT = timedelta(seconds=30)
"""After so long a silence of its worker a call is taken up by another one."""

_TRY = timedelta(days=30)  # one worker's; the next try finds the run that the one before has started
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
_MAX_ID = 300  # characters of the workflow's id in a request id, which has 512

Artifacts = Mapping[str, Artifact | str]


async def argo(
    manifest: str | None = None,
    *,
    template: str | None = None,
    cluster_template: str | None = None,
    cron_workflow: str | None = None,
    engine: str | None = None,
    service_account: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    artifacts: Artifacts | None = None,
    outputs: Mapping[str, TypeName] | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    attempt_timeout: Duration | None = None,
    cancel_grace: Duration | None = None,
    on_lost: Literal["fail", "restart"] | None = None,
    cache: Cache | bool | None = None,
    step: str | None = None,
) -> Result:
    """A run of Argo Workflows, to its end.

    Args:
        manifest: path of a Workflow manifest in the folder that the plugin has as `files`; or
        template: name of a WorkflowTemplate in the engine's namespace; or
        cluster_template: name of a ClusterWorkflowTemplate; or
        cron_workflow: name of a CronWorkflow; what it schedules is run.
        engine: its name in the service's configuration; `argo` when left out.
        service_account: of the pods.
        parameters: values by name.
        artifacts: of earlier results, or URIs.
        outputs: types by name: Argo's own values are strings.
        retry: how often and how what failed is tried again.
        timeout: over all attempts.
        attempt_timeout: of one attempt.
        cancel_grace: how long a cancelled run may take to stop.
        on_lost: `restart`: a run whose result is gone is run again.
        cache: an earlier success of the same work is taken.
        step: its name where people see it; made from what is run when left out.

    Raises:
        ApplicationError: of type META_RUN_FAILED when it does not succeed; DEFINITION_INVALID and the other codes of
            `workflows.errors` when it cannot be started.
    """
    runs = sources.argo(
        manifest,
        template=template,
        cluster_template=cluster_template,
        cron_workflow=cron_workflow,
        engine=engine,
        service_account=service_account,
    )
    name = step or step_name(manifest or template or cluster_template or cron_workflow or "argo")
    more = keys(cancel_grace=cancel_grace)
    return await _run_step(
        name, runs, parameters, artifacts, more | _options(outputs, retry, timeout, attempt_timeout, on_lost, cache)
    )


async def kfp(
    package: str | None = None,
    *,
    pipeline: str | None = None,
    version: str | None = None,
    engine: str | None = None,
    engine_cache: bool | None = None,
    experiment: str | None = None,
    pipeline_root: str | None = None,
    service_account: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    artifacts: Artifacts | None = None,
    outputs: Mapping[str, TypeName] | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    attempt_timeout: Duration | None = None,
    on_lost: Literal["fail", "restart"] | None = None,
    cache: Cache | bool | None = None,
    step: str | None = None,
) -> Result:
    """A run of Kubeflow Pipelines, to its end.

    Args:
        package: path of a compiled pipeline in the folder that the plugin has as `files`, or of a Python file with a
            `@dsl.pipeline` (`pipelines.py:train`), which is compiled on the worker; or
        pipeline: name of an uploaded one.
        version: name of its version; the newest when left out.
        engine: its name in the service's configuration; `kfp` when left out.
        engine_cache: False: KFP's own cache is not used.
        experiment: by default named after the Temporal workflow's type.
        pipeline_root: where KFP writes artifacts; by default the engine's.
        service_account: of the run's pods.
        parameters: values by name.
        artifacts: of earlier results, or URIs.
        outputs: types by name.
        retry: how often and how what failed is tried again.
        timeout: over all attempts.
        attempt_timeout: of one attempt.
        on_lost: `restart`: a run whose result is gone is run again.
        cache: an earlier success of the same work is taken.
        step: its name where people see it; made from what is run when left out.

    Raises:
        ApplicationError: as `argo`.
    """
    runs = sources.kfp(
        package,
        pipeline=pipeline,
        version=version,
        engine=engine,
        cache=engine_cache,
        experiment=experiment,
        pipeline_root=pipeline_root,
        service_account=service_account,
    )
    name = step or step_name(package or pipeline or "kfp")
    return await _run_step(
        name, runs, parameters, artifacts, _options(outputs, retry, timeout, attempt_timeout, on_lost, cache)
    )


async def approval(
    prompt: str,
    *,
    approvers: Sequence[str] | None = None,
    timeout: Duration | None = None,
    on_timeout: Literal["fail", "approve", "reject"] | None = None,
    parameters: Mapping[str, Any] | None = None,
    artifacts: Artifacts | None = None,
    step: str = "approval",
) -> Result:
    """Wait until a person has decided; the result's `decision` says who, when and why.

    Args:
        prompt: what is asked.
        approvers: who may decide; anybody when left out.
        timeout: how long to wait; for ever when left out.
        on_timeout: what the time-out decides; `fail` when left out.
        parameters: shown to the person, and part of what is approved.
        artifacts: the same.
        step: its name where people see it.

    Raises:
        ApplicationError: of type META_REJECTED when somebody rejects; META_RUN_FAILED when nobody decides in time.
    """
    runs = sources.approval("", approvers=approvers, timeout=timeout, on_timeout=on_timeout)
    return await _run_step(step, runs, parameters, artifacts, {}, prompt=prompt)


async def meta_workflow(name: str, inputs: Mapping[str, Any] | None = None) -> Result:
    """A run of a published meta-workflow, to its end.

    Args:
        name: as it is published; its newest version when the call begins.
        inputs: by name.

    Raises:
        ApplicationError: as `argo`.
    """
    return await _call(Request(request_id=_request_id(), workflow=name, parameters=_values(inputs)), name)


def _options(  # noqa: PLR0917 -- what both engines take, in the order of the calls
    outputs: Mapping[str, TypeName] | None,
    retry: Retry | None,
    timeout: Duration | None,
    attempt_timeout: Duration | None,
    on_lost: str | None,
    cache: Cache | bool | None,
) -> JsonObject:
    types = declared_outputs(outputs or {})
    return keys(
        outputs={name: type_.value for name, type_ in types.items()} or None,
        retry=None if retry is None else retry.data(),
        timeout=timeout,
        attempt_timeout=attempt_timeout,
        on_lost=on_lost,
        cache=cache.data() if isinstance(cache, Cache) else cache,
    )


async def _run_step(
    name: str,
    runs: Runs,
    parameters: Mapping[str, Any] | None,
    artifacts: Artifacts | None,
    options: JsonObject,
    *,
    prompt: str = "",
) -> Result:
    taken = {
        key: one if isinstance(one, Artifact) else Artifact(name=key, uri=one) for key, one in (artifacts or {}).items()
    }
    request = Request(
        request_id=_request_id(),
        workflow=workflow_name(workflow.info().workflow_type),
        step=name,
        data={runs.kind.value: runs.data, **options},
        prompt=prompt,
        parameters=_values(parameters),
        artifacts=taken,
    )
    return await _call(request, f"{runs.kind} {name}")


def _values(given: Mapping[str, Any] | None) -> JsonObject:
    return {name: plain(value) for name, value in (given or {}).items()}


def _request_id() -> str:
    """One for each call, the same in every replay.

    It has the id of this very run, and not of the first of its chain: after continue-as-new, a retry of the workflow or
    a reset the same call means another run.
    """
    info = workflow.info()
    return f"{info.workflow_id[:_MAX_ID]}/{info.run_id}/{workflow.uuid4().hex[:12]}"


async def _call(request: Request, summary: str) -> Result:
    asked = request.model_dump(mode="json", exclude_defaults=True)
    try:
        answer: dict[str, Any] = await workflow.execute_activity(
            RUN_ACTIVITY,
            asked,
            result_type=dict,
            start_to_close_timeout=_TRY,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )
    except ActivityError as error:
        if is_cancelled_exception(error) or error.retry_state is RetryState.CANCEL_REQUESTED:
            # The activity's worker is gone, or it never had one: nobody has seen the run end.
            await asyncio.shield(_end(asked, summary))
            raise asyncio.CancelledError from error
        if isinstance(error.cause, ApplicationError):
            raise error.cause from error
        raise
    if answer.get("cancelled"):
        raise asyncio.CancelledError
    return Result.model_validate(answer)


async def _end(asked: dict[str, Any], summary: str) -> None:
    await workflow.execute_activity(
        END_ACTIVITY,
        asked,
        start_to_close_timeout=_TRY,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=_RETRY,
        cancellation_type=workflow.ActivityCancellationType.ABANDON,
        summary=f"end of {summary}",
    )
