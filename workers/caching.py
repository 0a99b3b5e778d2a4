"""Whether an earlier success stands for the work of a step: the digest of the work, and what became of its results."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from workers.artifacts import ArtifactStore
from workers.ports import CachedSuccess, StepCache
from workflows.bundle import Bundle
from workflows.caching_messages import FindCached, FoundCached
from workflows.errors import ArtifactStoreUnavailable, ExpressionFailed
from workflows.inputs import most_outputs, size_of
from workflows.messages import ResolvedStep, StepOutcome, Taken, WaitStep
from workflows.outcome import Outcome
from workflows.resolve import convert_outputs
from workflows.spec.durations import format_duration
from workflows.spec.steps import Step
from workflows.values import JsonObject, canonical_json, digest_of

CHECK_S = 30.0
"""Seconds in which artifacts of a success are checked; after that the work is done again rather than waited for."""

_NOT_WORK = frozenset({"engine", "manifest", "package", "experiment", "cache"})
"""Keys of sources that do not decide what is computed: where it runs, what its file is called, who else looks at it."""


def work_of(step: Step, manifest: str | None, resolved: ResolvedStep) -> JsonObject:
    """All that decides what is computed, and nothing else; docs/step-cache.md has it word by word.

    Args:
        step: with its use case settled.
        manifest: text of the file that it submits; None when it names what its engine has.
        resolved: parameters, and artifacts that all have digests.
    """
    source: JsonObject = step.engine_source.model_dump(mode="json", exclude_none=True)
    return {
        "version": 1,
        "kind": step.kind.value,
        "source": {key: value for key, value in source.items() if key not in _NOT_WORK},
        "manifest": None if manifest is None else digest_of(manifest.encode()),
        # another engine may have another thing by the same name
        "engine": step.engine if manifest is None else None,
        "parameters": resolved.parameters,
        "artifacts": {name: artifact.sha256 for name, artifact in resolved.artifacts.items()},
        "key": resolved.cache_key,
    }


async def find_cached(message: FindCached, bundle: Bundle, objects: ArtifactStore, cache: StepCache) -> FoundCached:
    """Look for a success that stands for the work of a step.

    Args:
        message: which work.
        bundle: that the message names.
        objects: where artifacts are.
        cache: of successes.

    Raises:
        ServiceUnavailable: the store of successes does not answer.
    """
    step = bundle.definition.step(message.key.step)
    if message.choice is not None:
        step = step.settled(message.choice.engine, message.choice.kind)
    unknown = [name for name, artifact in message.resolved.artifacts.items() if artifact.sha256 is None]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        return FoundCached(note=f"cannot be cached: artifact {names} that it reads has no digest")
    manifest = None if step.file is None else bundle.files[step.file]
    key = digest_of(canonical_json(work_of(step, manifest, message.resolved)))
    success = await cache.cached(key) if message.look else None
    if success is None:
        return FoundCached(key=key)
    if reason := _too_old(success, message) or await _spoilt(success.outcome, objects):
        return FoundCached(key=key, note=f"the success of {_whose(success)} was not taken: {reason}")
    try:
        outputs = convert_outputs(message.key.step, message.outputs, success.outcome.outputs)
    except ExpressionFailed as error:
        return FoundCached(key=key, note=f"the success of {_whose(success)} was not taken: {error.message}")
    if size_of(outputs) > most_outputs(message.key.index):
        return FoundCached(key=key, note=f"the success of {_whose(success)} was not taken: too large for an item")
    taken = Taken(
        how="cache", run=success.by.meta_run, step=success.by.step, index=success.by.index, at=success.ended_at
    )
    artifacts = {
        name: artifact.model_copy(update={"producer": message.key.step})
        for name, artifact in success.outcome.artifacts.items()
    }
    update = {"outputs": outputs, "artifacts": artifacts, "taken_from": taken}
    return FoundCached(key=key, outcome=success.outcome.model_copy(update=update))


def success_of(message: WaitStep, raw: Outcome, outcome: Outcome, at: datetime) -> CachedSuccess | None:
    """What is kept of an end, to stand for the same work; None when nothing is.

    Args:
        message: asked for the end.
        raw: as the engine gave it.
        outcome: the same by the names of the definition.
        at: now.
    """
    if not message.cache_key or not outcome.succeeded:
        return None
    kept = StepOutcome(phase=outcome.phase, outputs=raw.outputs, artifacts=outcome.artifacts)
    return CachedSuccess(message.cache_key, message.key, kept, outcome.finished_at or at)


def _too_old(success: CachedSuccess, message: FindCached) -> str:
    if message.ttl is None or datetime.now(UTC) - success.ended_at <= message.ttl:
        return ""
    return f"it ended at {success.ended_at:%Y-%m-%d %H:%M:%S} UTC, and its ttl is {format_duration(message.ttl)}"


async def _spoilt(outcome: StepOutcome, objects: ArtifactStore) -> str:
    """Why the artifacts of a success are not what they were, as far as that can be told now; empty when they are."""
    try:
        async with asyncio.timeout(CHECK_S):
            for artifact in outcome.artifacts.values():
                if reason := await objects.spoilt(artifact):
                    return reason
    except TimeoutError:
        return f"its artifacts could not be checked within {CHECK_S:.0f} s"
    except ArtifactStoreUnavailable as error:
        return error.message
    return ""


def _whose(success: CachedSuccess) -> str:
    return f"step {success.by.step} of run {success.by.meta_run}"
