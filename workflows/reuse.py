"""Which steps of a run that has ended stand for those of a new one: pure functions on definitions and snapshots.

A step is taken over when it succeeded, is what it was, reads what it read, and all that it depends on is taken over or
was skipped and will be again. So no step that is taken over depends on one that runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from workflows.bundle import Bundle
from workflows.errors import ExpressionFailed
from workflows.expressions.references import Reference, references
from workflows.expressions.templates import parse_template, walk_strings
from workflows.messages import Reused, RunSnapshot, StepOutcome, StepSnapshot, Taken
from workflows.outcome import Artifact, RunState, StepKind, StepState
from workflows.plan import make_plan, step_expressions
from workflows.spec.models import COMPENSATE
from workflows.spec.steps import Step
from workflows.values import JsonObject, canonical_json, digest_of

MAX_REUSED = 1 << 20
"""Most bytes of JSON of all that is taken over together: it travels in the argument of the new run, as what its steps
read does later (Temporal takes 2 MiB)."""

_NOT_COMPARED = frozenset({
    "description", "retry", "timeout", "attemptTimeout", "cancelGrace", "onLost", "cache", "compensate", "continueOn",
})  # fmt: skip
"""Keys of a step that do not change what a success of it is."""

_WORDS = {
    StepState.FAILED: "it failed",
    StepState.LOST: "it was lost",
    StepState.TIMED_OUT: "it timed out",
    StepState.CANCELLED: "it was cancelled",
}


@dataclass(frozen=True, slots=True)
class Past:
    """A run that has ended, and the bundle that it was of."""

    bundle: Bundle
    run: RunSnapshot


@dataclass(frozen=True, slots=True)
class ReusePlan:
    """What becomes of the steps of the new run; those that are in neither were skipped and will be again.

    Attributes:
        taken: what stands for a step, by its name.
        again: why a step runs, by its name.
    """

    taken: dict[str, Reused] = field(default_factory=dict[str, Reused])
    again: dict[str, str] = field(default_factory=dict[str, str])


def plan_reuse(
    past: Past, bundle: Bundle, inputs: JsonObject, *, from_step: str = "", broken: Mapping[str, str] | None = None
) -> ReusePlan:
    """Decide for every step of a bundle whether it is taken over from a run.

    Args:
        past: the run.
        bundle: of the new run; of the same meta-workflow.
        inputs: of the new run, complete.
        from_step: runs again, and so does all that depends on it; empty: none has to.
        broken: steps whose success cannot stand for anything any more, and why.
    """
    spoilt = dict(broken or {})
    while True:
        plan = _plan(past, bundle, inputs, from_step, spoilt)
        sizes = {name: len(reused.model_dump_json()) for name, reused in plan.taken.items()}
        if sum(sizes.values()) <= MAX_REUSED:
            return plan
        largest = max(sizes, key=lambda name: sizes[name])
        spoilt[largest] = f"its results ({sizes[largest]:,} bytes) are too large to travel with the others"


def artifacts_of(reused: Reused) -> Iterator[Artifact]:
    """All artifacts that stand with what is taken over."""
    yield from reused.outcome.artifacts.values()
    for found in reused.outcome.artifact_lists.values():
        yield from (artifact for artifact in found if artifact is not None)


def _plan(past: Past, bundle: Bundle, inputs: JsonObject, from_step: str, broken: Mapping[str, str]) -> ReusePlan:
    plan, judge = ReusePlan(), _Judge(past, bundle, inputs)
    settled = set[str]()
    for planned in make_plan(bundle.definition).steps:
        name = planned.name
        step = judge.known.get(name)
        again = next((d for d in planned.dependencies if d not in settled), None)
        if name == from_step:
            reason = "it was asked for"
        elif again is not None:
            reason = f"it follows {again}, which runs again"
        else:
            reason = judge.changed(name) or judge.unfinished(name) or broken.get(name, "")
        if reason:
            plan.again[name] = reason
            continue
        settled.add(name)
        if step is not None and step.state is StepState.SUCCEEDED:
            plan.taken[name] = _reused(past.run, step)
    return plan


class _Judge:
    """Looks at one step at a time."""

    def __init__(self, past: Past, bundle: Bundle, inputs: JsonObject) -> None:
        self._past = past
        self._bundle = bundle
        self._inputs = inputs
        self.known = {step.name: step for step in past.run.steps}

    def changed(self, name: str) -> str:
        """How a step differs from what it was in the run; empty when it does not."""
        old = self._past.bundle.definition.steps.get(name)
        step = self._bundle.definition.steps[name]
        if old is None or name not in self.known:
            return "the run has no such step"
        was, now = _part(old, self._past.bundle), _part(step, self._bundle)
        keys = sorted(key for key in {*was, *now} if was.get(key) != now.get(key))
        if keys:
            return f"its definition has changed: {', '.join(keys)}"
        before = self._past.run.inputs
        for reference in sorted(_read(step, now)):
            if reference.root == "inputs" and _differ(before, self._inputs, reference.name):
                return f"it reads input '{reference.name}', which has changed"
            if reference.root == "run" and step.kind is StepKind.APPROVAL:
                return f"it shows {reference}, which has changed, so something else would have been decided"
        return ""

    def unfinished(self, name: str) -> str:
        """Why the run has no success of a step that could stand for it; empty when it has, or skipped it."""
        step, run = self.known[name], self._past.run
        if step.state is StepState.SKIPPED and run.state is not RunState.TERMINATED:
            return ""
        if step.state is not StepState.SUCCEEDED:
            return _WORDS[step.state] if step.state in _WORDS and step.attempt else "it had not begun"
        undone = self.known.get(COMPENSATE + name)
        if undone is not None and _has_begun(undone):
            return "its compensation has run"
        if step.stored:
            return "the results of its items are too large to travel, and stay with that run"
        return ""


def _part(step: Step, bundle: Bundle) -> JsonObject:
    """What a step runs, when, and with what: the content of files in place of their names."""
    part: JsonObject = step.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for key in _NOT_COMPARED:
        part.pop(key, None)
    part["needs"] = [*sorted(step.needs)]
    for kind, file in step.files.items():
        source = part[kind.value]
        assert isinstance(source, dict)  # it has the file
        source = {key: value for key, value in source.items() if key not in ("manifest", "package")}
        part[kind.value] = source
        part[f"content of its {kind.value} file"] = digest_of(bundle.files[file].encode())
    return part


def _read(step: Step, part: JsonObject) -> set[Reference]:
    """Everything that the expressions of a step read, wherever in it they stand."""
    found = {reference for text in step_expressions(step) for reference in references(text)}
    for _, text in walk_strings(part):
        try:
            expressions = parse_template(text).expressions
            found |= {reference for embedded in expressions for reference in references(embedded.text)}
        except ExpressionFailed:  # no template after all: validation has read all that are
            continue
    return found


def _differ(before: JsonObject, now: JsonObject, name: str) -> bool:
    return canonical_json(before.get(name)) != canonical_json(now.get(name))


def _has_begun(step: StepSnapshot) -> bool:
    return step.state not in (StepState.PENDING, StepState.SKIPPED) and bool(step.attempt or step.run)


def _reused(run: RunSnapshot, step: StepSnapshot) -> Reused:
    """A success, and whose it truly is: the run may have taken it over itself."""
    first = step.taken_from
    taken = Taken(
        how="retry",
        run=run.id if first is None else first.run,
        step=step.name if first is None else first.step,
        index=0 if first is None else first.index,
        at=step.finished_at if first is None else first.at,
    )
    outcome = StepOutcome(
        outputs=step.outputs,
        artifacts=step.artifacts,
        artifact_lists=step.artifact_lists,
        decision=step.decision,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )
    return Reused(taken_from=taken, outcome=outcome)
