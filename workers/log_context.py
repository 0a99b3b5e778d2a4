"""What a line of the log is about: set where a task begins, read by the formatters of `meta.telemetry.logs`.

It travels as a context variable, so that every line which the work writes says it, those of libraries too.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, replace

from workflows.naming import RunKey
from workflows.trace import span_id, trace_id


@dataclass(frozen=True, slots=True)
class LogContext:
    """Whatever is known; what is not is empty, an attempt 0.

    Attributes:
        run: id of the meta-run.
        step: its name.
        attempt: of the step, from 1.
        engine: its name in the configuration.
        trace_id: 32 hex digits.
        span_id: of the run, the step or the attempt, 16 hex digits.
        activity: of Temporal, by its name in histories.
    """

    run: str = ""
    step: str = ""
    attempt: int = 0
    engine: str = ""
    trace_id: str = ""
    span_id: str = ""
    activity: str = ""


_current: ContextVar[LogContext] = ContextVar("meta_log_context", default=LogContext())  # noqa: B039 -- it is frozen


def log_context() -> LogContext:
    """What the task at hand is about."""
    return _current.get()


def set_log_context(context: LogContext) -> None:
    """For the rest of this task, and of those that it starts."""
    _current.set(context)


def note_engine(engine: str) -> None:
    """The task at hand has found out which engine it speaks to."""
    _current.set(replace(_current.get(), engine=engine))


def note_run(run: str, trace: Mapping[str, str] | None = None) -> None:
    """The task at hand has found out which meta-run it is about.

    Args:
        run: the run's id.
        trace: context of the run's cause; None where it is unknown, and with it the trace.
    """
    _current.set(context_of_run(run, trace))


@contextmanager
def logged_about(context: LogContext) -> Generator[None]:
    """Within the block, what is logged is about this."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def apart(engine: str = "") -> Context:
    """A context for a task that serves many runs, whichever of them starts it."""
    context = copy_context()
    context.run(_current.set, LogContext(engine=engine))
    return context


def context_of_run(run: str, trace: Mapping[str, str] | None) -> LogContext:
    """A run, and where it stands in its trace if that is known."""
    if trace is None:
        return LogContext(run=run)
    return LogContext(run=run, trace_id=trace_id(run, trace), span_id=span_id(run, "run"))


def context_of_step(run: str, step: str, trace: Mapping[str, str], *, engine: str = "") -> LogContext:
    """A step of a run."""
    span = span_id(run, "step", step)
    return LogContext(run, step, engine=engine, trace_id=trace_id(run, trace), span_id=span)


def context_of_attempt(key: RunKey, trace: Mapping[str, str], *, engine: str = "") -> LogContext:
    """An attempt of a step."""
    span = span_id(key.meta_run, "attempt", key.step, key.index, key.attempt)
    return LogContext(key.meta_run, key.step, key.attempt, engine, trace_id(key.meta_run, trace), span)
