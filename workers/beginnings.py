"""Activities that prepare runs which other workflows start: of steps, schedules and backfills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from workers.ports import BundleStore, NewestBundle, Recorder
from workflows.child_messages import (
    MAX_DEPTH,
    PrepareChild,
    PreparedChild,
    PreparedPartition,
    PreparedTick,
    PreparePartition,
    PrepareTick,
    RecordStart,
)
from workflows.errors import InputsInvalid, InvalidInput, NotFound
from workflows.messages import Activity, Cause, ResolvedStep
from workflows.naming import request_run_id
from workflows.outcome import RunState
from workflows.planned import attempt_of, partition_prefix, rfc3339, schedule_request
from workflows.planned_inputs import rendered, time_event
from workflows.spec.models import MetaWorkflow
from workflows.starts import RunMemo, first_snapshot, make_start
from workflows.trace import context_of_step
from workflows.use_cases import UseCases
from workflows.values import JsonObject, ValueType, canonical_json, digest_of


@dataclass(frozen=True, slots=True)
class Beginnings:
    """These activities, with what they need from outside.

    Attributes:
        sampling: ratio of traces that are exported, which a child continues.
        use_cases: which engine each goes to.
    """

    bundles: BundleStore
    recorder: Recorder
    sampling: float = 1.0
    use_cases: UseCases = field(default_factory=UseCases)

    def activities(self) -> Sequence[Callable[..., Any]]:
        return [self.prepare_child, self.prepare_tick, self.prepare_partition, self.record_start]

    @activity.defn(name=Activity.PREPARE_CHILD)
    async def prepare_child(self, message: PrepareChild) -> PreparedChild:
        origin = message.origin
        if origin.depth >= MAX_DEPTH:
            raise InvalidInput(
                f"step '{message.step}' would be the {MAX_DEPTH + 1}th meta-run inside one another, {MAX_DEPTH} at"
                " most",
                hint=f"does {message.workflow} contain itself, directly or through another?",
            )
        try:
            newest = await self.bundles.newest(message.workflow)
            inputs = inputs_of(message.resolved, newest.definition)
            return self._child(message, newest, inputs)
        except NotFound as error:
            raise NotFound(f"step '{message.step}': {error.message}", hint=error.hint) from error
        except InputsInvalid as error:
            words = f"step '{message.step}', inputs of {message.workflow}: {error.message}"
            raise InputsInvalid(words, hint=error.hint) from error

    def _child(self, message: PrepareChild, newest: NewestBundle, inputs: JsonObject) -> PreparedChild:
        origin = message.origin
        step = f"{message.step}[{message.index - 1}]" if message.index else message.step
        return prepared(
            newest,
            inputs,
            request_id=f"{origin.run_id}/{message.step}/{message.index}/{message.attempt}",
            trigger="workflow",
            trace=context_of_step(origin.run_id, message.step, origin.trace, self.sampling),
            cause=Cause(kind="workflow", name=f"step {step} of {origin.workflow}", at=datetime.now(UTC)),
            parent=origin.run_id,
            depth=origin.depth + 1,
            use_cases=self.use_cases,
            no_cache=origin.no_cache,
        )

    @activity.defn(name=Activity.PREPARE_TICK)
    async def prepare_tick(self, message: PrepareTick) -> PreparedTick:
        tick = message.tick
        try:
            newest = await self.bundles.newest(tick.workflow)
        except NotFound as error:
            return PreparedTick(reason=f"{error.message}; the schedule is about to be removed")
        schedules = (one.schedule for one in newest.definition.triggers)
        trigger = next((one for one in schedules if one is not None and one.key == tick.trigger), None)
        if trigger is None:
            return PreparedTick(reason=f"{tick.workflow} has no schedule {tick.trigger} any more")
        try:
            local = message.at.astimezone(ZoneInfo(trigger.timezone))
        except (ZoneInfoNotFoundError, ValueError):  # a machine without the zone's rules
            local = message.at
        inputs = rendered(trigger.inputs, time_event(tick.workflow, tick.trigger, local))
        cause = Cause(kind="schedule", name=tick.trigger, at=message.at)
        request_id = schedule_request(tick.trigger, message.at)
        child = prepared(
            newest, inputs, request_id=request_id, trigger="schedule", cause=cause, use_cases=self.use_cases
        )
        return PreparedTick(child=child)

    @activity.defn(name=Activity.PREPARE_PARTITION)
    async def prepare_partition(self, message: PreparePartition) -> PreparedPartition:
        plan, at = message.plan, message.partition
        prefix = partition_prefix(at.start, at.end)
        runs = await self.recorder.asked_runs(plan.workflow, prefix)
        last = max((attempt_of(run.request_id) for run in runs), default=0)
        if busy := next((run.id for run in runs if not run.state.ended), ""):
            return PreparedPartition(busy=busy, attempt=last)
        done = next((run.id for run in runs if run.state is RunState.SUCCEEDED), "")
        if done and not plan.again:
            return PreparedPartition(done_by=done, attempt=last)
        number = max(last, message.beyond) + 1
        definition = (await self.bundles.get(plan.bundle_digest)).definition
        inputs = rendered(plan.inputs, time_event(plan.workflow, "", at.start, at.end))
        child = prepared(
            NewestBundle(plan.bundle_digest, definition),
            inputs,
            request_id=f"{prefix}{number}",
            trigger="backfill",
            cause=Cause(kind="backfill", name=f"backfill of {rfc3339(at.start)}", at=datetime.now(UTC)),
            use_cases=self.use_cases,
        )
        return PreparedPartition(child=child, attempt=number)

    @activity.defn(name=Activity.RECORD_START)
    async def record_start(self, message: RecordStart) -> None:
        child = message.child
        info = activity.info()
        asked = DescribeNamespaceRequest(namespace=info.namespace)
        found = await activity.client().workflow_service.describe_namespace(asked)
        # A namespace's name can come again with another Temporal behind it; its id does not.
        snapshot = first_snapshot(child.id, child.start, message.at).model_copy(
            update={"temporal_namespace": found.namespace_info.id}
        )
        await self.recorder.run_started(snapshot, child.memo.inputs_digest, child.start.definition)


def prepared(
    newest: NewestBundle,
    inputs: JsonObject,
    *,
    request_id: str,
    trigger: str,
    cause: Cause,
    trace: dict[str, str] | None = None,
    parent: str = "",
    depth: int = 0,
    use_cases: UseCases | None = None,
    no_cache: bool = False,
) -> PreparedChild:
    """A run that is ready to be started, with the id that the request makes.

    Raises:
        InputsInvalid: with every input that is wrong.
    """
    start = make_start(
        newest.definition, newest.digest, inputs, trigger=trigger, request_id=request_id, trace=trace, cause=cause,
        parent=parent, depth=depth, use_cases=use_cases, no_cache=no_cache,
    )  # fmt: skip
    name = newest.definition.name
    memo = RunMemo(
        workflow=name,
        inputs_digest=digest_of(canonical_json(inputs)),
        bundle_digest=newest.digest,
        request_id=request_id,
        trigger=trigger,
    )
    return PreparedChild(id=request_run_id(name, request_id), start=start, memo=memo)


def inputs_of(resolved: ResolvedStep, definition: MetaWorkflow) -> JsonObject:
    """A step's parameters, and its artifacts beside them: as their URI where the input is a string, else whole."""
    inputs: JsonObject = dict(resolved.parameters)
    for name, artifact in resolved.artifacts.items():
        declared = definition.inputs.get(name)
        as_uri = declared is not None and declared.type is ValueType.STRING
        inputs[name] = artifact.uri if as_uri else artifact.model_dump(mode="json", exclude_none=True)
    return inputs
