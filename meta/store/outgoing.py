"""Which life-cycle events a change of a run is worth: pure functions on snapshots.

Two speak of a step. Activities tell what became of one attempt: `started`, `attempt_failed`, `succeeded` and the
artifacts. Only the workflow knows that an attempt was the last one: `failed`, `timed_out`, `lost`, `cancelled` and
`skipped` are its word, or Temporal's in its place. The workflow's word wins: a step whose attempt succeeded at the
moment in which its time was up or its run was cancelled ends as the workflow says, after the `succeeded`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import cast

from meta.store.fold import progress
from workflows.messages import RunSnapshot, StepRole, StepSnapshot, Taken
from workflows.outcome import Artifact, RunState, StepState
from workflows.spec.steps import ENGINE_KINDS
from workflows.values import JsonObject, JsonValue

MAX_VALUES = 128 * 1024
"""Bytes of inputs, or of outputs, as JSON; what is larger is left out of its event, which says so."""

MAX_MESSAGE = 4000
"""Characters of a message."""


class Kind(StrEnum):
    """Kinds of events; `meta.<kind>` is the type."""

    RUN_STARTED = "run.started"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_TERMINATED = "run.terminated"
    STEP_STARTED = "step.started"
    STEP_ATTEMPT_FAILED = "step.attempt_failed"
    STEP_SUCCEEDED = "step.succeeded"
    STEP_FAILED = "step.failed"
    STEP_TIMED_OUT = "step.timed_out"
    STEP_LOST = "step.lost"
    STEP_CANCELLED = "step.cancelled"
    STEP_SKIPPED = "step.skipped"
    ARTIFACT_PRODUCED = "artifact.produced"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_DECIDED = "approval.decided"


_END_OF_RUN = {
    RunState.SUCCEEDED: Kind.RUN_SUCCEEDED,
    RunState.FAILED: Kind.RUN_FAILED,
    RunState.CANCELED: Kind.RUN_CANCELLED,
    RunState.TERMINATED: Kind.RUN_TERMINATED,
}
_END_OF_STEP = {
    StepState.FAILED: Kind.STEP_FAILED,
    StepState.TIMED_OUT: Kind.STEP_TIMED_OUT,
    StepState.LOST: Kind.STEP_LOST,
    StepState.CANCELLED: Kind.STEP_CANCELLED,
    StepState.SKIPPED: Kind.STEP_SKIPPED,
}
_NEVER_STARTED = (StepState.CANCELLED, StepState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Happening:
    """What one event tells.

    Attributes:
        what: the end of its subject: `run.started`, `step.train.failed`, `artifact.train.model`.
        attempt: for what may come again with the next attempt; then it is a part of the id.
        data: beside what is in every event of the run.
    """

    kind: Kind
    what: str
    at: datetime
    data: JsonObject
    attempt: int | None = None

    @property
    def type(self) -> str:
        return f"meta.{self.kind.value}"

    def id(self, run_id: str) -> str:
        """The same however often it is told, and of this happening alone."""
        return f"{run_id}/{self.what}" + ("" if self.attempt is None else f"/{self.attempt}")


def is_described(run: RunSnapshot) -> bool:
    """Whether the run has told of itself: an attempt can be written down before its run is."""
    return bool(run.bundle_digest or (run.state.ended and run.workflow))


def common(run: RunSnapshot) -> JsonObject:
    """What is in the data of every event of a run."""
    return {"run": run.id, "workflow": run.workflow, "trigger": run.trigger, "request_id": run.request_id}


def happenings(
    before: RunSnapshot | None,
    after: RunSnapshot,
    final: Collection[str] | None,
    *,
    said: Iterable[str],
    now: datetime,
) -> list[Happening]:
    """What a change of a run is worth telling, in order, without what was said before.

    Args:
        before: the run before the change; None: it was not known.
        after: and after it.
        final: steps that the workflow, who tells of the change, calls ended; None: an attempt tells. The end of a run
            is final for every step.
        said: ids of the events of this run that there are.
        now: for what has no time of its own.
    """
    if before is not None and before.state.ended:
        return []  # the first end that is known stands, and nothing comes after it
    teller = _Teller(after, said, now)
    if before is None:
        teller.run(Kind.RUN_STARTED, after.started_at, _bounded({"state": RunState.RUNNING, "inputs": after.inputs}))
    known = {step.name: step for step in before.steps} if before is not None else {}
    for step in sorted(after.steps, key=lambda step: (step.finished_at is None, step.finished_at or now)):
        if teller.settled(step):
            continue
        if after.state.ended or (final is not None and step.name in final):
            teller.workflow_says(step)
        elif final is None and _is_news(known.get(step.name), step):
            teller.attempt_says(step)
        elif final is not None and (step.kind not in ENGINE_KINDS or step.items is not None):
            teller.workflow_runs(step)
    if after.state.ended:
        data: JsonObject = {"state": after.state.value, "message": after.message[:MAX_MESSAGE]}
        if after.state is RunState.SUCCEEDED:
            data |= {"outputs": after.outputs}
        teller.run(_END_OF_RUN[after.state], after.finished_at, _bounded(data))
    return teller.news


def _is_news(was: StepSnapshot | None, step: StepSnapshot) -> bool:
    """Whether an attempt has told of this step. That it runs, the workflow may have said before the attempt did."""
    return was is None or progress(step) > progress(was) or (step.state is StepState.RUNNING and step != was)


class _Teller:
    """Collects what is new."""

    def __init__(self, run: RunSnapshot, said: Iterable[str], now: datetime) -> None:
        self._run = run
        self._said = set(said)
        self._whats = {one[len(run.id) + 1 :].partition("/")[0] for one in self._said}
        self._now = now
        self.news: list[Happening] = []

    def run(self, kind: Kind, at: datetime | None, data: JsonObject) -> None:
        self._add(Happening(kind, kind.value, at or self._now, data))

    def settled(self, step: StepSnapshot) -> bool:
        """The workflow has said how the step ended; it says so once."""
        return any(_what(kind, step) in self._whats for kind in _END_OF_STEP.values())

    def attempt_says(self, step: StepSnapshot) -> None:
        if step.state is StepState.PENDING:
            return
        self._started(step)
        if step.state is StepState.SUCCEEDED:
            self._succeeded(step)
        elif step.state.ended:
            self._artifacts(step)
            self._step(Kind.STEP_ATTEMPT_FAILED, step, step.finished_at, step.attempt)

    def workflow_says(self, step: StepSnapshot) -> None:
        # That a step runs is told by its attempt: the workflow says so before there is an engine run.
        if not step.state.ended:
            return
        if step.taken_from is not None and step.state is StepState.SUCCEEDED:
            self._taken(step, step.taken_from)
            return
        if step.state not in _NEVER_STARTED and _what(Kind.STEP_STARTED, step) not in self._whats:
            self._started(step)
        self._asked(step)
        if step.state is StepState.SUCCEEDED:
            self._succeeded(step)
        else:
            self._step(_END_OF_STEP[step.state], step, step.finished_at, None)

    def workflow_runs(self, step: StepSnapshot) -> None:
        """The workflow tells that a step runs which has no engine run that would tell it."""
        if step.state is StepState.RUNNING:
            self._started(step)
            self._asked(step)

    def _asked(self, step: StepSnapshot) -> None:
        """What an approval asks, and how it was decided."""
        if (asked := step.asked) is not None:
            data = asked.model_dump(mode="json", exclude={"prompt"})
            data["prompt"] = asked.prompt[:MAX_MESSAGE]
            at = step.started_at or self._now
            self._add(Happening(Kind.APPROVAL_ASKED, f"approval.{step.name}.asked", at, _of_approval(step, data)))
        if (decision := step.decision) is not None:
            data = decision.model_dump(mode="json")
            what = f"approval.{step.name}.decided"
            self._add(Happening(Kind.APPROVAL_DECIDED, what, decision.at, _of_approval(step, data)))

    def _taken(self, step: StepSnapshot, taken: Taken) -> None:
        """Nothing has run and nothing was produced: another run's success stands for the step's."""
        at = None if taken.at is None else taken.at.isoformat()
        source: JsonObject = {
            "how": taken.how, "run": taken.run, "step": taken.step, "index": taken.index, "at": at
        }  # fmt: skip
        data: JsonObject = {"outputs": step.outputs, "taken_from": source}
        self._step(Kind.STEP_SUCCEEDED, step, step.finished_at, step.attempt, data)

    def _started(self, step: StepSnapshot) -> None:
        at = step.started_at if step.attempt <= 1 else None  # that is when the first attempt began
        begun = step.model_copy(update={"state": StepState.RUNNING, "message": "", "failed_nodes": []})
        self._step(Kind.STEP_STARTED, begun, at, step.attempt)

    def _succeeded(self, step: StepSnapshot) -> None:
        self._artifacts(step)
        self._step(Kind.STEP_SUCCEEDED, step, step.finished_at, step.attempt, {"outputs": step.outputs})

    def _artifacts(self, step: StepSnapshot) -> None:
        for name, artifact in step.artifacts.items():
            data: JsonObject = {"step": step.name, "attempt": step.attempt, **_artifact(name, artifact, step)}
            what = f"artifact.{step.name}.{name}"
            at = step.finished_at or self._now
            self._add(Happening(Kind.ARTIFACT_PRODUCED, what, at, data, step.attempt))

    def _step(
        self, kind: Kind, step: StepSnapshot, at: datetime | None, attempt: int | None, more: JsonObject | None = None
    ) -> None:
        data = _bounded(_of_step(step) | (more or {}))
        self._add(Happening(kind, _what(kind, step), at or self._now, data, attempt))

    def _add(self, happening: Happening) -> None:
        event_id = happening.id(self._run.id)
        if event_id not in self._said:
            self._said.add(event_id)
            self._whats.add(happening.what)
            self.news.append(happening)


def _what(kind: Kind, step: StepSnapshot) -> str:
    return f"step.{step.name}.{kind.value.partition('.')[2]}"


def _of_step(step: StepSnapshot) -> JsonObject:
    data: JsonObject = {
        "step": step.name,
        "kind": step.kind.value,
        "engine": step.engine,
        "attempt": step.attempt,
        "state": step.state.value,
        "message": step.message[:MAX_MESSAGE],
    }
    if step.role is not StepRole.STEP:
        data["role"] = step.role.value
    if step.continued:
        data["continued"] = True
    if step.run is not None:
        data["engine_run"] = {
            "name": step.run.name, "uid": step.run.uid, "namespace": step.run.namespace, "url": step.run.url
        }  # fmt: skip
    if step.failed_nodes:
        data["failed_nodes"] = [node.model_dump(mode="json", exclude={"log"}) for node in step.failed_nodes]
    return data


def _of_approval(step: StepSnapshot, data: JsonObject) -> JsonObject:
    return _bounded({"step": step.name, **data})


def _artifact(name: str, artifact: Artifact, step: StepSnapshot) -> JsonObject:
    return {
        "name": name,
        "uri": artifact.uri,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "type": artifact.type,
        "producer": artifact.producer or step.name,
    }


def _bounded(data: JsonObject) -> JsonObject:
    """The data without values that are too large for a message; `left_out` names them."""
    large = [
        name
        for name in ("inputs", "outputs", "parameters")
        if name in data and len(json.dumps(data[name])) > MAX_VALUES
    ]
    return without(data, large) if large else data


def without(data: JsonObject, names: Iterable[str]) -> JsonObject:
    """The data of an event without some of its values; `left_out` names them."""
    out: list[JsonValue] = [name for name in names if name in data]
    before = cast(list[JsonValue], data.get("left_out", []))
    kept = {name: value for name, value in data.items() if name not in out}
    if before or out:
        kept["left_out"] = [*before, *out]
    return kept
