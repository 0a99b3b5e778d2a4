"""How runs look in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from meta.cli.failures import print_failure
from meta.client import EngineInfo, PublishedInfo, RunView
from workflows.messages import StepSnapshot
from workflows.outcome import RunState, StepState

_STYLES = {
    "pending": "dim",
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "lost": "bold red",
    "timed_out": "bold red",
    "cancelled": "yellow",
    "canceled": "yellow",
    "terminated": "bold red",
    "skipped": "dim",
}


def state_text(state: RunState | StepState) -> Text:
    return Text(state.value, style=_STYLES[state.value])


def duration_text(duration: timedelta | None) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h10m`; empty for None."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def steps_table(run: RunView, now: datetime | None = None) -> Table:
    """The steps of a run.

    Args:
        run: as the service gave it.
        now: for the time that running steps have taken so far; None leaves it empty.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "engine", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("attempt", "nodes", "cached", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("message", overflow="fold")
    for step in run.steps:
        table.add_row(
            Text(step.name),
            Text(step.engine),
            state_text(step.state),
            str(step.attempt or ""),
            str(step.nodes or ""),
            str(step.cached_nodes or ""),
            duration_text(_taken(step, now)),
            Text(step.message or _whose(step)),
        )
    return table


def _whose(step: StepSnapshot) -> str:
    """Who has done the step: its engine run, or another run whose success stands for it."""
    if step.taken_from is not None:
        return step.taken_from.words(step.name)
    return step.run.name if step.run is not None else ""


def _taken(step: StepSnapshot, now: datetime | None) -> timedelta | None:
    if step.state is StepState.RUNNING and step.started_at is not None and now is not None:
        return now - step.started_at
    return step.duration


def headline(run: RunView, now: datetime | None = None) -> Text:
    """`chain-1234 running 12s`."""
    end = run.finished_at or now
    taken = end - run.started_at if run.started_at is not None and end is not None else None
    return Text.assemble((run.id, "bold"), " ", state_text(run.state), f" {duration_text(taken)}".rstrip())


def live_view(run: RunView) -> RenderableType:
    """A run while it goes on."""
    now = datetime.now(UTC)
    return Group(headline(run, now), steps_table(run, now))


def print_run(console: Console, run: RunView) -> None:
    """All about a run."""
    console.print(headline(run, datetime.now(UTC)))
    if run.message:
        console.print(Text(run.message, style="red"))
    if run.retry_of:
        console.print(Text(f"retries {run.retry_of}"), soft_wrap=True)
    for other in run.retried_as:
        console.print(Text(f"retried as {other}"), soft_wrap=True)
    console.print(steps_table(run, datetime.now(UTC)))
    if line := other_runs_line(run):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    for step in run.steps:
        if step.note:
            console.print(Text(f"{step.name}: {step.note}", style="yellow"), soft_wrap=True)
    print_results(console, run)


def other_runs_line(run: RunView) -> str:
    """How many engine runs were ended beside the adopted ones, and of which steps; empty for none."""
    counts = {step.name: len(step.other_runs) for step in run.steps if step.other_runs}
    total = sum(counts.values())
    if not total:
        return ""
    steps = ", ".join(f"{name} {count}" if len(counts) > 1 else name for name, count in counts.items())
    return f"{total} engine run{'s' if total > 1 else ''} beside the adopted one ended: {steps}"


def print_results(console: Console, run: RunView) -> None:
    """What a run has given: outputs, artifacts with digests, last words of what failed, and where to look further."""
    for step in run.steps:
        if step.state.ended:
            print_failure(console, run.id, step)
    if run.outputs:
        console.print(Text("outputs", style="bold"))
        for name, value in run.outputs.items():
            console.print(Text(f"  {name} = {json.dumps(value, ensure_ascii=False)}"), soft_wrap=True)
    artifacts = [(step.name, artifact) for step in run.steps for artifact in step.artifacts.values()]
    if artifacts:
        console.print(Text("artifacts", style="bold"))
        for step, artifact in artifacts:
            digest = f" sha256:{artifact.sha256[:12]}" if artifact.sha256 else ""
            size = f" {artifact.size:,} bytes" if artifact.size is not None else ""
            console.print(Text(f"  {step}.{artifact.name} {artifact.uri}{digest}{size}"), soft_wrap=True)
    if run.temporal_url:
        console.print(Text(f"temporal {run.temporal_url}", style="dim"), soft_wrap=True)


def runs_table(runs: Sequence[RunView]) -> Table:
    """Runs, a line each; ids are never cut, because they are there to be copied."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True, min_width=max((len(run.id) for run in runs), default=0))
    for name in ("workflow", "state", "started", "time"):
        table.add_column(name, no_wrap=True)
    table.add_column("message", overflow="fold")
    for run in runs:
        end = run.finished_at or datetime.now(UTC)
        table.add_row(
            Text(run.id),
            Text(run.workflow),
            state_text(run.state),
            run.started_at.strftime("%Y-%m-%d %H:%M:%S") if run.started_at else "",
            duration_text(end - run.started_at) if run.started_at else "",
            Text(run.message),
        )
    return table


def workflows_table(workflows: Sequence[PublishedInfo]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("workflow", "version", "published"):
        table.add_column(name, no_wrap=True)
    table.add_column("triggers", justify="right", no_wrap=True)
    table.add_column("description", overflow="fold")
    for one in workflows:
        published, triggers = f"{one.published_at:%Y-%m-%d %H:%M:%S}", len(one.definition.triggers)
        table.add_row(one.name, str(one.version), published, str(triggers or ""), Text(one.description))
    return table


def engines_table(engines: Sequence[EngineInfo]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("engine", "kind", "url", "state", "version"):
        table.add_column(name, no_wrap=True)
    table.add_column("message", overflow="fold")
    for one in engines:
        state = Text("ok", style="green") if one.ok else Text("down", style="bold red")
        troubled = [str(circuit) for circuit in one.circuits if circuit.state != "closed"]
        warned = (f"{c.name}: {c.detail}" for c in one.checks if c.verdict == "warn")
        words = "; ".join(word for word in (one.message, one.hint, *warned, *troubled) if word)
        table.add_row(one.name, one.kind, one.url, state, one.version, Text(words))
    return table
