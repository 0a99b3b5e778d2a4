"""The Temporal activities: thin, idempotent, each a few lines between a message and a port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from workers.artifacts import ArtifactStore
from workers.engines.base import Engine
from workers.engines.registry import get_engine
from workers.ports import BundleStore, Recorder
from workers.staging import stage_artifacts
from workers.submission import make_submission
from workflows import resolve
from workflows.manifests import definition_names
from workflows.messages import (
    Activity,
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
from workflows.outcome import Artifact, EngineRunRef, FailureClass, Outcome
from workflows.values import JsonObject, canonical_json

MAX_OUTPUTS = 256 * 1024
"""Bytes of a step's outputs as JSON; they live in the history. Larger results are artifacts."""


@dataclass(frozen=True, slots=True)
class Activities:
    """All activities, with what they need from outside."""

    engines: Mapping[str, Engine]
    objects: ArtifactStore
    bundles: BundleStore
    recorder: Recorder

    def control(self) -> Sequence[Callable[..., Any]]:
        """Short ones, on the main task queue."""
        return [self.resolve, self.resolve_outputs, self.submit, self.resume, self.terminate, self.record]

    def waits(self) -> Sequence[Callable[..., Any]]:
        """Long ones, on a task queue of their own: thousands of them must not starve a submit."""
        return [self.wait, self.stage]

    @activity.defn(name=Activity.RESOLVE)
    async def resolve(self, message: ResolveStep) -> ResolvedStep:
        resolved = resolve.resolve_step(message)
        engine = message.definition.steps[message.step].engine
        copies = [name for name, one in resolved.artifacts.items() if self.objects.needs_copy(engine, one)]
        return resolved.model_copy(update={"copies": copies}) if copies else resolved

    @activity.defn(name=Activity.RESOLVE_OUTPUTS)
    async def resolve_outputs(self, message: ResolveOutputs) -> JsonObject:
        return resolve.resolve_outputs(message)

    @activity.defn(name=Activity.STAGE)
    async def stage(self, message: StageArtifacts) -> StagedArtifacts:
        return await stage_artifacts(self.objects, message)

    @activity.defn(name=Activity.SUBMIT)
    async def submit(self, message: SubmitStep) -> EngineRunRef:
        bundle = await self.bundles.get(message.bundle_digest)
        submission = make_submission(message, bundle)
        engine = get_engine(self.engines, submission.source.engine)
        for artifact in submission.artifacts.values():
            await self.objects.check(artifact)
        ref = await engine.submit(submission)
        await self.recorder.attempt_submitted(message.definition_name, message.key, ref, _now())
        return ref

    @activity.defn(name=Activity.RESUME)
    async def resume(self, message: ResumeStep) -> EngineRunRef:
        engine = get_engine(self.engines, message.ref.engine)
        ref = await engine.resume(message.ref, message.key)
        await self.recorder.attempt_submitted(message.definition_name, message.key, ref, _now())
        return ref

    @activity.defn(name=Activity.WAIT)
    async def wait(self, message: WaitStep) -> StepOutcome:
        """Wait for the engine run; a worker that shuts down leaves it alone, the next one waits on."""
        engine = get_engine(self.engines, message.ref.engine)
        outcome = await engine.wait(message.ref, activity.heartbeat)
        outcome = _within_limits(message, outcome)
        outcome = outcome.model_copy(
            update={"outputs": _outputs(message, outcome), "artifacts": _artifacts(message, outcome)}
        )
        await self.recorder.attempt_ended(message.definition_name, message.key, message.ref, outcome, _now())
        return StepOutcome(
            failure=outcome.failure,
            message=outcome.message,
            outputs=outcome.outputs,
            artifacts=outcome.artifacts,
            nodes=len(outcome.nodes),
            cached_nodes=outcome.cached_nodes,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
        )

    @activity.defn(name=Activity.TERMINATE)
    async def terminate(self, message: TerminateStep) -> bool:
        """End every engine run of the key. Not a failure if there is none."""
        engine = get_engine(self.engines, message.engine)
        return await engine.terminate(message.key, message.name, message.ref)

    @activity.defn(name=Activity.RECORD)
    async def record(self, snapshot: RunSnapshot) -> None:
        await self.recorder.snapshot(snapshot)


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
