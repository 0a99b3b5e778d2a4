"""The Temporal activities: thin, idempotent, each a few lines between a message and a port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from workers.artifacts import ArtifactStore
from workers.beginnings import Beginnings
from workers.caching import find_cached, success_of
from workers.engines.base import Engine, RunPhase
from workers.engines.registry import get_engine
from workers.engines.waiting import with_life
from workers.events import wait_for_event
from workers.limits import SubmitLimits
from workers.log_context import note_engine
from workers.ports import BundleStore, EventReader, Recorder
from workers.results import take_result
from workers.staging import stage_artifacts
from workers.submission import make_submission
from workflows import resolve
from workflows.caching_messages import FindCached, FoundCached
from workflows.errors import EngineRejected, EngineUnavailable
from workflows.expressions.retry_on import wants_retry
from workflows.fanout_messages import RECORD_ITEMS, RESOLVE_ITEMS, RecordItems, ResolvedItems, ResolveItems
from workflows.inputs import MAX_ITEM_OUTPUTS, most_outputs
from workflows.kind_messages import AwaitEvent, EventArrived, TakeResult
from workflows.manifests import definition_names
from workflows.messages import (
    Activity,
    AskRetry,
    ResolvedStep,
    ResolveOutputs,
    ResolveStep,
    ResumeStep,
    RunSnapshot,
    StageArtifacts,
    StagedArtifacts,
    StepOutcome,
    StepView,
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineRunRef, FailureClass, Outcome
from workflows.resolve_items import resolve_items
from workflows.use_cases import UseCases
from workflows.values import JsonObject, canonical_json

log = logging.getLogger(__name__)


_ITEM_NODES, _ITEM_MESSAGE = 2, 2000


@dataclass(frozen=True, slots=True)
class Activities:
    """All activities, with what they need from outside.

    Attributes:
        events: where steps wait for messages; None: this worker has no NATS.
        sampling: ratio of traces that are exported, which code in engine runs is told.
        use_cases: which engine each goes to, for runs that workers start.
    """

    engines: Mapping[str, Engine]
    objects: ArtifactStore
    bundles: BundleStore
    recorder: Recorder
    limits: SubmitLimits = field(default_factory=SubmitLimits)
    sampling: float = 1.0
    use_cases: UseCases = field(default_factory=UseCases)
    events: EventReader | None = None

    def control(self) -> Sequence[Callable[..., Any]]:
        """Short ones, on the main task queue."""
        return [
            self.resolve,
            self.resolve_items,
            self.record_items,
            self.resolve_outputs,
            self.find_cached,
            self.submit,
            self.resume,
            self.terminate,
            self.record,
            self.retry_on,
            self.take_result,
            *Beginnings(self.bundles, self.recorder, self.sampling, self.use_cases).activities(),
        ]

    def waits(self) -> Sequence[Callable[..., Any]]:
        """Long ones, on a task queue of their own: thousands of them must not starve a submit."""
        return [self.wait, self.stage, self.wait_for_event]

    @activity.defn(name=Activity.RESOLVE)
    async def resolve(self, message: ResolveStep) -> ResolvedStep:
        message = message.model_copy(update={"steps": await self._with_lists(message.meta_run, message.steps)})
        resolved = resolve.resolve_step(message)
        engine = message.definition.step(message.step).engine
        if not engine:
            return resolved
        copies = [name for name, one in resolved.artifacts.items() if self.objects.needs_copy(engine, one)]
        return resolved.model_copy(update={"copies": copies}) if copies else resolved

    @activity.defn(name=Activity.RESOLVE_OUTPUTS)
    async def resolve_outputs(self, message: ResolveOutputs) -> JsonObject:
        message = message.model_copy(update={"steps": await self._with_lists(message.meta_run, message.steps)})
        return resolve.resolve_outputs(message)

    @activity.defn(name=RESOLVE_ITEMS)
    async def resolve_items(self, message: ResolveItems) -> ResolvedItems:
        shared = message.shared
        bundle = await self.bundles.get(shared.origin.bundle_digest)
        views = await self._with_lists(shared.origin.run_id, shared.stored)
        resolved = resolve_items(message, bundle.definition, views)
        engine = shared.step.engine
        if not engine:
            return resolved
        return ResolvedItems(
            items=[
                one.model_copy(
                    update={"copies": [n for n, a in one.artifacts.items() if self.objects.needs_copy(engine, a)]}
                )
                for one in resolved.items
            ]
        )

    @activity.defn(name=RECORD_ITEMS)
    async def record_items(self, message: RecordItems) -> None:
        await self.recorder.record_items(message.run, message.step, message.items)

    async def _with_lists(self, run: str, views: Mapping[str, StepView]) -> dict[str, StepView]:
        """The views of steps, with the lists of fan-outs that were too large to travel."""
        filled = dict(views)
        for name, view in views.items():
            if view.stored and view.items is not None:
                lists = await self.recorder.item_lists(run, name, view.items.total)
                update = {"outputs": {**view.outputs, **lists.outputs}, "artifact_lists": lists.artifacts}
                filled[name] = view.model_copy(update=update)
        return filled

    @activity.defn(name=Activity.FIND_CACHED)
    async def find_cached(self, message: FindCached) -> FoundCached:
        return await find_cached(message, await self.bundles.get(message.bundle_digest), self.objects, self.recorder)

    @activity.defn(name=Activity.STAGE)
    async def stage(self, message: StageArtifacts) -> StagedArtifacts:
        return await stage_artifacts(self.objects, message)

    @activity.defn(name=Activity.SUBMIT)
    async def submit(self, message: SubmitStep) -> EngineRunRef:
        bundle = await self.bundles.get(message.bundle_digest)
        submission = make_submission(message, bundle, self.sampling)
        engine = get_engine(self.engines, submission.source.engine)
        note_engine(engine.name)
        if message.previous is not None and await self._goes_on(engine, message.previous):
            await self._submitted(message.definition_name, message.key, message.previous)
            await self.recorder.noted(message.key, "retried by hand at the engine; this attempt waits for that run")
            return message.previous
        for artifact in submission.artifacts.values():
            await self.objects.check(artifact)
        await self.limits.take(engine.name, message.key, activity.info().attempt)
        ref = await self.limits.kept(engine.name, message.key, engine.submit(submission))
        await self._submitted(message.definition_name, message.key, ref)
        return ref

    async def _submitted(self, workflow: str, key: RunKey, ref: EngineRunRef) -> None:
        info = activity.info()
        await self.recorder.attempt_submitted(
            workflow, key, ref, _now(), asked_at=info.scheduled_time, tries=info.attempt
        )

    async def _goes_on(self, engine: Engine, previous: EngineRunRef) -> bool:
        """Whether somebody has retried the run of the attempt before by hand, so that it runs, or has succeeded."""
        try:
            phase = await engine.phase_of(previous)
        except EngineRejected as error:  # an archive, say, that we may not read: then nothing speaks for it
            log.warning("engine '%s': cannot look at %s again: %s", previous.engine, previous.name, error)
            return False
        if phase not in (RunPhase.RUNNING, RunPhase.SUCCEEDED):
            return False
        log.warning(
            "engine '%s': %s (%s) was retried by hand and is %s; it is adopted instead of a second run",
            previous.engine,
            previous.name,
            previous.uid,
            phase.value,
        )
        return True

    @activity.defn(name=Activity.RESUME)
    async def resume(self, message: ResumeStep) -> EngineRunRef:
        engine = get_engine(self.engines, message.ref.engine)
        await self.limits.take(engine.name, message.key, activity.info().attempt)
        ref = await self.limits.kept(engine.name, message.key, engine.resume(message.ref, message.key))
        await self._submitted(message.definition_name, message.key, ref)
        return ref

    @activity.defn(name=Activity.WAIT)
    async def wait(self, message: WaitStep) -> StepOutcome:
        """Wait for the engine run; a worker that shuts down leaves it alone, the next one waits on."""
        engine = get_engine(self.engines, message.ref.engine)
        waiting = engine.wait(message.ref, activity.heartbeat)
        outcome = await self.limits.kept(engine.name, message.key, waiting)
        await self.limits.free(engine.name, message.key)
        raw = _within_limits(message, outcome)
        outcome = raw.model_copy(update={"outputs": _outputs(message, raw), "artifacts": _artifacts(message, raw)})
        now = _now()
        success = success_of(message, raw, outcome, now)
        await self.recorder.attempt_ended(
            message.definition_name, message.key, message.ref, outcome, now, success=success
        )
        return StepOutcome(
            failure=outcome.failure,
            phase=outcome.phase,
            message=outcome.message,
            failed_nodes=outcome.failed_nodes,
            outputs=outcome.outputs,
            artifacts=outcome.artifacts,
            nodes=len(outcome.nodes),
            cached_nodes=outcome.cached_nodes,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
        )

    @activity.defn(name=Activity.TERMINATE)
    async def terminate(self, message: TerminateStep) -> bool:
        """End every engine run of the key. Not a failure if there is none; tried again until the engine confirms."""
        engine = get_engine(self.engines, message.engine)
        ending = engine.terminate(message.key, message.name, message.ref, grace=grace_left(message, _now()))
        try:
            found = await with_life(ending, activity.heartbeat)
        except EngineRejected as error:
            # A refusal leaves a run behind as surely as silence does. Rights can be given, so it is asked again.
            raise EngineUnavailable(
                error.message, hint=error.hint or "the run cannot be ended until this is mended"
            ) from error
        await self.limits.free(engine.name, message.key, any_attempt=True)
        if message.failure is not None:
            await self.recorder.attempt_cut(message.attempt or message.key, message.failure, message.reason)
        return found

    @activity.defn(name=Activity.WAIT_EVENT)
    async def wait_for_event(self, message: AwaitEvent) -> EventArrived:
        return await wait_for_event(self.events, message)

    @activity.defn(name=Activity.TAKE_RESULT)
    async def take_result(self, message: TakeResult) -> JsonObject:
        return take_result(message)

    @activity.defn(name=Activity.RETRY_ON)
    async def retry_on(self, message: AskRetry) -> bool:
        return wants_retry(message)

    @activity.defn(name=Activity.RECORD)
    async def record(self, snapshot: RunSnapshot) -> None:
        await self.recorder.snapshot(snapshot)


def grace_left(message: TerminateStep, now: datetime) -> float:
    """Seconds that an engine run may still take to stop: the grace counts from when the workflow wanted the end.

    Never more than the whole of it, whatever the clocks of worker and server say.
    """
    asked_at = message.asked_at or now
    return max(min(message.grace, asked_at + message.grace - now).total_seconds(), 0.0)


def _within_limits(message: WaitStep, outcome: Outcome) -> Outcome:
    size, limit = len(canonical_json(outcome.outputs)), most_outputs(message.key.index)
    whose = f"step {message.key.step}"
    if message.key.index:
        outcome = as_of_item(outcome)
        whose = f"item {message.key.index - 1} of {whose}"
    if size <= limit:
        return outcome
    text = (
        f"outputs of {whose} are {size // 1024} KB, the limit is {limit // 1024} KB; write large results as an artifact"
    )
    return outcome.model_copy(update={"failure": FailureClass.REJECTED, "message": text, "outputs": {}})


def as_of_item(outcome: Outcome) -> Outcome:
    """What an item of a fan-out has of an outcome: little, because hundreds of them share a history."""
    artifacts = outcome.artifacts
    if len(canonical_json({name: one.model_dump(mode="json") for name, one in artifacts.items()})) > MAX_ITEM_OUTPUTS:
        artifacts = {name: one.model_copy(update={"metadata": {}}) for name, one in artifacts.items()}
    return outcome.model_copy(
        update={
            "failed_nodes": outcome.failed_nodes[:_ITEM_NODES],
            "message": outcome.message[:_ITEM_MESSAGE],
            "artifacts": artifacts,
        }
    )


def _outputs(message: WaitStep, outcome: Outcome) -> JsonObject:
    """Outputs by their names in the definition; of the declared types when the run succeeded and so must have them."""
    if not outcome.succeeded:
        return definition_names(outcome.outputs)
    return resolve.convert_outputs(message.key.step, message.outputs, outcome.outputs)


def _artifacts(message: WaitStep, outcome: Outcome) -> dict[str, Artifact]:
    produced = definition_names(outcome.artifacts)
    return {name: artifact.model_copy(update={"producer": message.producer}) for name, artifact in produced.items()}


def _now() -> datetime:
    return datetime.now(UTC)
