"""The Temporal activities: thin, idempotent, each a few lines between a message and a port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from workers.artifacts import ArtifactStore
from workers.caching import find_cached, success_of
from workers.engines.base import Engine, RunPhase
from workers.engines.registry import get_engine
from workers.engines.waiting import with_life
from workers.limits import SubmitLimits
from workers.log_context import note_engine
from workers.ports import BundleStore, Recorder
from workers.staging import stage_artifacts
from workers.submission import make_submission
from workflows import resolve
from workflows.caching_messages import FindCached, FoundCached
from workflows.errors import EngineRejected, EngineUnavailable
from workflows.expressions.retry_on import wants_retry
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
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineRunRef, FailureClass, Outcome
from workflows.values import JsonObject, canonical_json

log = logging.getLogger(__name__)

MAX_OUTPUTS = 256 * 1024
"""Bytes of a step's outputs as JSON; they live in the history. Larger results are artifacts."""


@dataclass(frozen=True, slots=True)
class Activities:
    """All activities, with what they need from outside.

    Attributes:
        sampling: ratio of traces that are exported, which code in engine runs is told.
    """

    engines: Mapping[str, Engine]
    objects: ArtifactStore
    bundles: BundleStore
    recorder: Recorder
    limits: SubmitLimits = field(default_factory=SubmitLimits)
    sampling: float = 1.0

    def control(self) -> Sequence[Callable[..., Any]]:
        """Short ones, on the main task queue."""
        return [
            self.resolve,
            self.resolve_outputs,
            self.find_cached,
            self.submit,
            self.resume,
            self.terminate,
            self.record,
            self.retry_on,
        ]

    def waits(self) -> Sequence[Callable[..., Any]]:
        """Long ones, on a task queue of their own: thousands of them must not starve a submit."""
        return [self.wait, self.stage]

    @activity.defn(name=Activity.RESOLVE)
    async def resolve(self, message: ResolveStep) -> ResolvedStep:
        resolved = resolve.resolve_step(message)
        engine = message.definition.step(message.step).engine
        copies = [name for name, one in resolved.artifacts.items() if self.objects.needs_copy(engine, one)]
        return resolved.model_copy(update={"copies": copies}) if copies else resolved

    @activity.defn(name=Activity.RESOLVE_OUTPUTS)
    async def resolve_outputs(self, message: ResolveOutputs) -> JsonObject:
        return resolve.resolve_outputs(message)

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
    size = len(canonical_json(outcome.outputs))
    if size <= MAX_OUTPUTS:
        return outcome
    text = (
        f"outputs of step {message.key.step} are {size // 1024} KB, the limit is {MAX_OUTPUTS // 1024} KB;"
        " write large results as an artifact"
    )
    return outcome.model_copy(update={"failure": FailureClass.REJECTED, "message": text, "outputs": {}})


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
