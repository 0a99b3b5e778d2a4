"""What follows when the steps of a run have ended: work is taken back, then the steps of `finally` run.

| The run              | Compensations of the steps that succeeded         | Steps of `finally` |
|----------------------|---------------------------------------------------|--------------------|
| succeeded            | none                                              | run                |
| failed               | run, what was done last is taken back first       | run afterwards     |
| was over its timeout | the same                                          | run afterwards     |
| was cancelled        | the same                                          | run afterwards     |

All this is outside the run's `timeout`, and a cancellation that comes meanwhile changes nothing: half an undo is
worse than either end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workflows import calls
from workflows.messages import StepRole, StepSnapshot
from workflows.order import run_in_order
from workflows.outcome import RunState, StepState
from workflows.plan import make_plan
from workflows.spec.models import COMPENSATE
from workflows.step_run import Run, StepRun
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ends.

    Attributes:
        failed_step: the first step that failed it; `outputs` when its own outputs could not be worked out.
    """

    state: RunState
    message: str = ""
    failed_step: str = ""

    def outcome(self) -> JsonObject:
        """As expressions read it."""
        return {"state": self.state.value, "message": self.message, "failed_step": self.failed_step}

    def adding(self, words: str) -> Verdict:
        return replace(self, message="\n".join(part for part in (self.message, words) if part))


class Ending:
    """Brings a run whose steps have ended to its own end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._board = run.board

    async def follow(self, verdict: Verdict) -> Verdict:
        """Run what follows such an end, to its end, however often the run is cancelled meanwhile.

        Args:
            verdict: on the steps.

        Returns:
            The verdict on the whole.
        """
        self._board.close(StepRole.STEP)
        taken_back = [] if verdict.state is RunState.SUCCEEDED else self._board.to_take_back()
        if taken_back:
            verdict = await calls.undisturbed(self._take_back(taken_back, verdict))
        if self._run.start.definition.finally_:
            verdict = await calls.undisturbed(self._finally(verdict))
        return verdict

    async def _take_back(self, names: list[str], verdict: Verdict) -> Verdict:
        self._board.ending(verdict.message or "cancelled")
        self._board.add_compensations([COMPENSATE + name for name in names])
        self._run.changed()
        for name in names:  # one after the other: what was built upon other work goes before that
            await StepRun(COMPENSATE + name, self._run, verdict.outcome()).run()
        stays = [
            f"{step.name.removeprefix(COMPENSATE)} ({_how(step)})"
            for step in self._board.failed_steps(StepRole.COMPENSATION)
        ]
        return verdict.adding(f"not taken back: {'; '.join(stays)}") if stays else verdict

    async def _finally(self, verdict: Verdict) -> Verdict:
        outcome = verdict.outcome()
        self._board.ending(verdict.message)
        plan = make_plan(self._run.start.definition)
        await run_in_order(plan.finally_, lambda name: StepRun(name, self._run, outcome).run())
        failed = self._board.failed_steps(StepRole.FINALLY)
        if not failed:
            return verdict
        told = verdict.adding(f"finally: {'; '.join(map(_how, failed))}")
        if verdict.state is not RunState.SUCCEEDED:
            return told
        return replace(told, state=RunState.FAILED, failed_step=failed[0].name)


def _how(step: StepSnapshot) -> str:
    words = {StepState.TIMED_OUT: "timed out", StepState.LOST: "was lost", StepState.CANCELLED: "was cancelled"}
    return f"{step.name} {words.get(step.state, step.state.value)}: {step.message}"
