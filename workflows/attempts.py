"""The attempts of an engine run: until one succeeds or the policy gives up; whatever is cut short is ended first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows import calls
from workflows.messages import (
    ResolvedStep,
    ResumeStep,
    StageArtifacts,
    StepOutcome,
    SubmitStep,
    TerminateStep,
    WaitStep,
)
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import EngineRunRef, FailureClass, StepState
from workflows.retry import Action, policy_of
from workflows.spec.durations import format_duration
from workflows.trying import cause_of, message_of, until_success
from workflows.work import End, Job, Progress

RETRIED_BY_HAND = "somebody has retried the engine run of the attempt before; this attempt waits for it"

_CLASS_OF_CODE = {
    "ENGINE_RUN_FAILED": FailureClass.FAILED,
    "ENGINE_RUN_LOST": FailureClass.LOST,
    "ENGINE_RUN_TIMED_OUT": FailureClass.TIMED_OUT,
    "ENGINE_RUN_CANCELLED": FailureClass.CANCELLED,
}
_RESUME_REFUSED = ("ENGINE_REJECTED", "ENGINE_RUN_LOST")


@dataclass(slots=True)
class _Attempt:
    """What is known of the attempt in flight, so that whoever ends it can find its engine run."""

    key: RunKey
    owner: RunKey  # the key that made the engine run: an earlier attempt's when this one resumed it
    name: str
    ref: EngineRunRef | None = None
    previous: _Attempt | None = None  # whose engine run may be running again, when this one is not to resume it

    def take(self, ref: EngineRunRef) -> bool:
        """Note the engine run that was submitted; True if it is the one of the attempt before."""
        self.ref = ref
        before = self.previous
        if before is None or before.ref is None or before.ref.uid != ref.uid:
            return False
        self.owner, self.name = before.owner, before.name
        return True


class EngineRuns:
    """Runs what a step runs on its engine.

    Args:
        job: what.
        progress: hears of it.
    """

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress
        self._origin = job.origin
        self._step = job.step
        self._policy = policy_of(job.step)
        self._last: _Attempt | None = None

    async def run(self) -> End:
        """Bring artifacts to where the engine reads them, once for all attempts, and run those.

        Raises:
            asyncio.CancelledError: cancelled, and the engine run has ended.
        """
        resolved = self._job.resolved
        if resolved.copies:
            wanted = {name: resolved.artifacts[name] for name in resolved.copies}
            self._progress.says(f"copying {', '.join(wanted)}")
            try:
                staged = await calls.stage(
                    StageArtifacts(
                        step=self._job.name,
                        engine=self._step.engine,
                        artifacts=wanted,
                        key=self._job.key(0) if self._job.index else None,
                    )
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                return End(StepState.FAILED, message_of(error))
            resolved = resolved.model_copy(update={"artifacts": {**resolved.artifacts, **staged.artifacts}})
        return await until_success(
            self._job, self._policy, self._progress, lambda number, action: self._one(number, action, resolved)
        )

    async def _one(self, number: int, action: Action, resolved: ResolvedStep) -> StepOutcome:
        key, previous = self._job.key(number), self._last
        attempt = _Attempt(key, key, engine_run_name(self._origin.workflow, key), previous=previous)
        if action.in_place and previous is not None:
            attempt = replace(previous, key=key, previous=None)
        self._last = attempt
        return await self._attempt(attempt, resolved, action)

    async def _attempt(self, attempt: _Attempt, resolved: ResolvedStep, action: Action) -> StepOutcome:
        """Run one attempt; when it is cut short, end its engine run before anything else happens."""
        timeout = self._step.attempt_timeout
        try:
            words = f"Time-out of attempt {attempt.key.attempt} of {self._job.title}"
            return await calls.limited(
                timeout, self._submit_and_wait(attempt, resolved, action), words, named=self._origin.named_timers
            )
        except TimeoutError:
            assert timeout is not None
            await self._terminate(attempt, "attempt timed out", FailureClass.TIMED_OUT)
            return StepOutcome(failure=FailureClass.TIMED_OUT, message=f"not done within {format_duration(timeout)}")
        except asyncio.CancelledError:
            await self._terminate(attempt, "cancelled", FailureClass.CANCELLED)
            raise
        except ActivityError as error:
            return StepOutcome(failure=_failure_of(error), message=message_of(error))

    async def _submit_and_wait(self, attempt: _Attempt, resolved: ResolvedStep, action: Action) -> StepOutcome:
        try:
            return await self._calls(attempt, resolved, action)
        except ActivityError as error:
            if is_cancelled_exception(error):  # so that asyncio's time-outs know it for the cancellation they asked for
                raise asyncio.CancelledError from error
            raise

    async def _calls(self, attempt: _Attempt, resolved: ResolvedStep, action: Action) -> StepOutcome:
        name = self._origin.workflow
        ref = await self._resume(attempt) if action.in_place else None
        if ref is None:
            ref = await calls.submit(
                SubmitStep(
                    definition_name=name,
                    bundle_digest=self._origin.bundle_digest,
                    key=attempt.key,
                    name=attempt.name,
                    resolved=resolved,
                    previous=attempt.previous.ref if attempt.previous is not None else None,
                    trace=self._origin.trace,
                    choice=self._origin.choices.get(self._job.name),
                ),
                self._step.engine,
            )
            by_hand = attempt.take(ref)
        else:
            attempt.ref, by_hand = ref, False
        self._progress.adopted(ref)
        if by_hand:
            self._progress.says(RETRIED_BY_HAND)
        this = asyncio.current_task()
        if this is not None and this.cancelling():  # a submit that completes in spite of it swallows the cancellation
            raise asyncio.CancelledError
        return await calls.wait(
            WaitStep(
                definition_name=name,
                key=attempt.key,
                ref=ref,
                outputs=self._step.outputs,
                producer=self._job.name,
                cache_key=self._job.cache_key,
            )
        )

    async def _resume(self, attempt: _Attempt) -> EngineRunRef | None:
        """Retry the engine run of the attempt before this one in place.

        Returns:
            None when it cannot be resumed and need not be (`auto`): the attempt then makes a run of its own. That is
            one attempt, not two.
        """
        name = self._origin.workflow
        if attempt.ref is not None:
            try:
                return await calls.resume(ResumeStep(definition_name=name, key=attempt.key, ref=attempt.ref))
            except ActivityError as error:
                cause = cause_of(error)
                if self._policy.strategy != "auto" or cause is None or cause.type not in _RESUME_REFUSED:
                    raise
                self._progress.says(f"cannot be resumed, a new run is started: {cause.message}")
        attempt.owner, attempt.name, attempt.ref = attempt.key, engine_run_name(name, attempt.key), None
        return None

    async def _terminate(self, attempt: _Attempt, reason: str, failure: FailureClass) -> None:
        message = TerminateStep(
            engine=self._step.engine,
            key=attempt.owner,
            name=attempt.name,
            ref=attempt.ref,
            reason=reason,
            attempt=attempt.key,
            failure=failure,
            grace=self._step.grace,
            asked_at=workflow.now(),
        )
        self._progress.says(f"{reason}: its engine run is being ended")
        await calls.uninterrupted(calls.terminate(message))


def _failure_of(error: ActivityError) -> FailureClass:
    """Submit's and wait's errors that no retry mends are refusals, unless their code says otherwise."""
    cause = cause_of(error)
    code = cause.type if cause is not None else None
    return _CLASS_OF_CODE.get(code or "", FailureClass.REJECTED)
