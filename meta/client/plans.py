"""Plans: what a start would run, and what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from meta.api import convert
from meta.api.errors import from_problem
from meta.api.v1 import meta_pb2 as pb
from meta.client.views import EngineCheckInfo, View
from workflows.errors import Problem
from workflows.messages import Taken
from workflows.values import JsonObject

Word = Literal["run", "skip", "cached", "unknown", "fail"]
_WORDS: Mapping[str, Word] = {word: word for word in ("run", "skip", "cached", "unknown", "fail")}


class PlannedStepInfo(View):
    """A step before anything runs.

    Attributes:
        kind: argo, kfp, approval, wait, workflow, activity.
        engine: empty when none runs it.
        role: step, compensation, finally.
        runs: what, in words.
        after: steps that it waits for.
        what: run, skip, cached; unknown: decided in the run; fail: it would fail before it begins.
        why: it is skipped, fails, or what its running depends on.
        values: parameters, and artifacts as URIs, that are known.
        unknown: the others, with the text that gives them.
        taken_from: whose success stands for it, when it is cached.
        items: of a fan-out; -1: not known; 0: it is none.
        checks: what was said of what it names.
    """

    name: str
    kind: str
    engine: str = ""
    role: str = "step"
    runs: str = ""
    after: list[str] = Field(default_factory=list[str])
    what: Word
    why: str = ""
    values: JsonObject = Field(default_factory=dict)
    unknown: dict[str, str] = Field(default_factory=dict)
    taken_from: Taken | None = None
    items: int = 0
    checks: list[EngineCheckInfo] = Field(default_factory=list[EngineCheckInfo])


class PlanInfo(View):
    """What a start would run.

    Attributes:
        ok: a run would begin, and nothing is known that it would fail by.
        problems: of definition and inputs; with any there are no steps.
        inputs: with defaults.
        history_events: of the run in Temporal, about, when all goes smoothly.
        history_bytes: the same.
    """

    workflow: str
    ok: bool
    problems: list[Problem] = Field(default_factory=list[Problem])
    inputs: JsonObject = Field(default_factory=dict)
    steps: list[PlannedStepInfo] = Field(default_factory=list[PlannedStepInfo])
    history_events: int = 0
    history_bytes: int = 0


def plan_of(reply: pb.PlanResponse) -> PlanInfo:
    return PlanInfo(
        workflow=reply.workflow,
        ok=reply.ok,
        problems=[from_problem(problem) for problem in reply.problems],
        inputs=convert.from_json_object(reply.inputs_json, "inputs_json"),
        steps=[_step(step) for step in reply.steps],
        history_events=reply.history_events,
        history_bytes=reply.history_bytes,
    )


def _step(step: pb.PlannedStep) -> PlannedStepInfo:
    return PlannedStepInfo(
        name=step.name,
        kind=step.kind,
        engine=step.engine,
        role=step.role,
        runs=step.runs,
        after=list(step.after),
        what=_WORDS.get(step.what, "unknown"),
        why=step.why,
        values=convert.from_json_object(step.parameters_json, "parameters_json"),
        unknown=dict(step.unknown),
        taken_from=convert.from_taken(step.taken_from) if step.HasField("taken_from") else None,
        items=step.items,
        checks=[EngineCheckInfo(name=c.name, verdict=c.verdict, detail=c.detail, hint=c.hint) for c in step.checks],
    )
