"""Traces made by hand, with times that are easy to reckon with. Seconds count from `AT`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from meta.trace.attributes import ACTIVITY, ATTEMPT, NODE_CACHED, NODE_PHASE, NODE_TYPE, STEP, STEP_STATE
from meta.trace.model import PART, Attribute, Part, Span, Status
from workflows.messages import StepSnapshot
from workflows.outcome import StepKind, StepState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = "5f" * 16


def at(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


class Maker:
    """Makes spans, parents first.

    Args:
        start: of the run, seconds.
        end: of the run; None while it goes on.
    """

    def __init__(self, start: float, end: float | None) -> None:
        self.spans: list[Span] = []
        cause = self._add(Part.CAUSE, "MetaService/Start", "", (start - 0.05, start))
        self._root = cause.span_id
        self._add(Part.RUN, "run chain", self._root, (start, end))

    def step(self, name: str, start: float, end: float | None, *, failed: str = "", state: str = "") -> Span:
        said: dict[str, Attribute] = {STEP: name}
        if state:
            said[STEP_STATE] = state
        return self._add(Part.STEP, f"step {name}", self._root, (start, end), failed, **said)

    def attempt(self, step: Span, number: int, start: float, end: float | None, *, failed: str = "") -> Span:
        return self._add(Part.ATTEMPT, f"attempt {number}", step.span_id, (start, end), failed, **{ATTEMPT: number})

    def part(self, part: Part, above: Span, start: float, end: float | None, name: str = "") -> Span:
        return self._add(part, name or part.value, above.span_id, (start, end))

    def work(self, above: Span, activity: str, start: float, end: float, *, failed: str = "refused") -> Span:
        """A try of an activity; one that failed unless `failed` is empty."""
        return self._add(Part.WORK, activity, above.span_id, (start, end), failed, **{ACTIVITY: activity})

    def node(
        self, above: Span, name: str, start: float, end: float, *, failed: str = "", kind: str = "Pod",
        cached: bool = False,
    ) -> Span:  # fmt: skip
        said: dict[str, Attribute] = {NODE_TYPE: kind}
        said[NODE_PHASE] = "Failed" if failed else "Succeeded"
        if cached:
            said[NODE_CACHED] = True
        return self._add(Part.NODE, name, above.span_id, (start, end), failed, **said)

    def engine_step(self, name: str, start: float, end: float) -> Span:
        """A step of one attempt; its submit takes 0.1 s, its end is seen after 0.3 s. Returns the engine's span."""
        return self.engine_attempt(self.step(name, start, end), 1, start + 0.1, end - 0.1)

    def engine_attempt(self, step: Span, number: int, start: float, end: float, *, failed: str = "") -> Span:
        attempt = self.attempt(step, number, start, end, failed=failed)
        self.part(Part.SUBMIT, attempt, start, start + 0.1)
        self.part(Part.WAIT, attempt, start + 0.1, end)
        return self.part(Part.ENGINE, attempt, start + 0.1, end - 0.3, f"chain-{step.name.split()[-1]}-{number}")

    def _add(
        self, part: Part, name: str, parent: str, times: tuple[float, float | None], failed: str = "", **said: Attribute
    ) -> Span:
        span = Span(
            trace_id=TRACE,
            span_id=f"{len(self.spans) + 1:016x}",
            parent_id=parent,
            name=name,
            start=at(times[0]),
            end=None if times[1] is None else at(times[1]),
            status=Status.ERROR if failed else Status.UNSET,
            message=failed,
            attributes={PART: part.value, **{key: value for key, value in said.items()}},
        )
        self.spans.append(span)
        return span


def chain() -> list[Span]:
    """Prepare, train with a retry, a fan-out of 50 beside a short step, publish from the cache; 60 seconds.

    `prepare` 0 to 10, `train` 10.2 to 30.2 (attempt 1 fails), `score` 30.4 to 55 (50 nodes), `report` 30.4 to 35,
    `publish` 55.2 to 60.
    """
    made = Maker(0, 60)
    engine = made.engine_step("prepare", 0, 10)
    root = made.node(engine, "chain-prepare-1", 0.2, 9.6, kind="Steps")
    made.node(root, "[0]", 1, 9.6, kind="StepGroup")
    made.node(root, "read", 1.2, 5.2)
    made.node(root, "check", 5.6, 9.6)
    train = made.step("train", 10.2, 30.2)
    made.node(made.engine_attempt(train, 1, 10.3, 16.3, failed="exit code 3"), "fit", 11, 16, failed="exit code 3")
    made.node(made.engine_attempt(train, 2, 20.3, 30.1), "fit", 21.4, 29.8)
    engine = made.engine_step("score", 30.4, 55)
    root = made.node(engine, "chain-score-1", 30.6, 54.6, kind="DAG")
    for index in range(50):
        start = 30.8 + (index // 10) * 4.5
        failed = "out of memory" if index == 17 else ""
        made.node(root, f"score({index}:part-{index})", start, start + 1.2 + index * 0.06, failed=failed)
    made.node(made.engine_step("report", 30.4, 35), "report", 31, 34.6)
    made.node(made.engine_step("publish", 55.2, 60), "publish", 55.4, 55.4, kind="CONTAINER", cached=True)
    return made.spans


def snapshots(pending: Sequence[str] = ()) -> list[StepSnapshot]:
    """The steps of `chain` in the definition's order; `alert` was skipped."""
    names = ("prepare", "train", "alert", "score", "report", "publish")
    states = {"alert": StepState.SKIPPED} | dict.fromkeys(pending, StepState.PENDING)
    return [
        StepSnapshot(
            name=name, kind=StepKind.ARGO, engine="argo",
            state=states.get(name, StepState.SUCCEEDED),
        )
        for name in names
    ]  # fmt: skip


def going_on() -> list[Span]:
    """The same after 25 seconds: `train` is in its second attempt."""
    seen = [span for span in chain() if span.start < at(25)]
    return [replace(span, end=None) if span.end is not None and span.end > at(25) else span for span in seen]


def fan_out(count: int) -> list[Span]:
    """One step with very many nodes, 100 at once."""
    made = Maker(0, count / 100 + 1)
    root = made.node(made.engine_step("many", 0, count / 100 + 1), "many", 0.2, count / 100 + 0.6, kind="DAG")
    for index in range(count):
        start = 0.3 + index // 100
        made.node(root, f"item({index})", start, start + 0.5 + (index % 97) / 250)
    return made.spans
