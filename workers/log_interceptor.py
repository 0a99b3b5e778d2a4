"""Tells the log what each activity, and each workflow, is about.

A run that somebody else's trace has caused belongs to that trace, which only its workflow knows; the workflow passes it
on to every activity in the header `traceparent`. A run that begins its own trace needs none: its id tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from workers.log_context import LogContext, context_of_attempt, context_of_run, context_of_step, set_log_context
from workers.work import key_of
from workflows.fanout_messages import StartChunk
from workflows.messages import (
    ResolveStep,
    ResumeStep,
    RunSnapshot,
    StageArtifacts,
    StartRun,
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.trace import TRACEPARENT


class LogInterceptor(Interceptor):
    """Sets `workers.log_context` for activities and workflows."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        header = input.headers.get(TRACEPARENT)
        trace = {TRACEPARENT: activity.payload_converter().from_payload(header, str)} if header is not None else {}
        message = input.args[0] if input.args else None
        info = activity.info()
        about = context_of_message(message, info.workflow_id or "", trace)
        # Each activity is a task of its own, so that nothing need be put back; then what Temporal logs of its failure,
        # after this has returned, is about it too.
        set_log_context(replace(about, activity=info.activity_type))
        return await self.next.execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._outbound = _Outbound(outbound)
        super().init(self._outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        start = input.args[0] if input.args else None
        run, trace = workflow.info().workflow_id, start.trace if isinstance(start, StartRun) else {}
        if isinstance(start, StartChunk):  # a part of a run
            run, trace = start.shared.origin.run_id, start.shared.origin.trace
        self._outbound.traceparent = trace.get(TRACEPARENT, "")
        set_log_context(context_of_run(run, trace))
        return await super().execute_workflow(input)


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        super().__init__(next)
        self.traceparent = ""

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        return super().start_activity(replace(input, headers=self._with_trace(input.headers)))

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        return super().start_local_activity(replace(input, headers=self._with_trace(input.headers)))

    def _with_trace(self, headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
        if not self.traceparent:
            return headers
        return {**headers, TRACEPARENT: workflow.payload_converter().to_payload(self.traceparent)}


def context_of_message(message: object, run: str, trace: Mapping[str, str]) -> LogContext:
    """What an activity is about, by its argument.

    Args:
        message: the argument.
        run: id of the workflow that wants the activity: a meta-run, or somebody's own workflow.
        trace: context of the run's cause, as far as the workflow passed it on.
    """
    known = message.trace if isinstance(message, SubmitStep | RunSnapshot) and message.trace else trace
    if isinstance(message, RunSnapshot):
        return context_of_run(message.id, known)
    key = key_of(message, run)
    if key is None or not key.step:
        return context_of_run(run, known)
    if not key.attempt:
        return context_of_step(key.meta_run, key.step, known, engine=_engine_of(message))
    return context_of_attempt(key, known, engine=_engine_of(message))


def _engine_of(message: object) -> str:
    """The engine that an activity speaks to, as far as its argument tells."""
    match message:
        case ResumeStep(ref=ref) | WaitStep(ref=ref):
            return ref.engine
        case TerminateStep(engine=engine) | StageArtifacts(engine=engine):
            return engine
        case ResolveStep(definition=definition, step=step) if step in definition.everything():
            return definition.step(step).engine
        case _:
            return ""
