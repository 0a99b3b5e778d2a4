"""How runs look in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from meta.cli.asking import approval_lines
from meta.cli.failures import print_failure
from meta.client import EngineInfo, ItemInfo, PublishedInfo, RunView
from workflows.foreach_items import label
from workflows.inputs import show
from workflows.messages import StepRole, StepSnapshot
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


_GROUPS = {StepRole.STEP: "steps", StepRole.COMPENSATION: "compensations", StepRole.FINALLY: "finally"}


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
    role = StepRole.STEP
    for step in run.steps:
        if step.role is not role:
            role = step.role
            table.add_row(Text(_GROUPS[role], style="bold"))
        table.add_row(
            Text(step.name),
            Text(step.engine or step.kind.value),
            Text.assemble(state_text(step.state), (", continued", "dim") if step.continued else ""),
            str(step.attempt or ""),
            str(step.nodes or ""),
            str(step.cached_nodes or ""),
            duration_text(_taken(step, now)),
            Text(step.message or progress_of(step) or _whose(step)),
        )
    return table


def _whose(step: StepSnapshot) -> str:
    """Who has done the step: its engine run, its own run, or another run whose success stands for it."""
    if step.taken_from is not None:
        return step.taken_from.words(step.name)
    return step.run.name if step.run is not None else step.child


def progress_of(step: StepSnapshot) -> str:
    """`37 of 50 items, 2 failed`; empty for a step without items."""
    items = step.items
    if items is None:
        return ""
    words = [f"{items.succeeded + items.failed} of {items.total} items"]
    words += [f"{items.failed} failed"] if items.failed else []
    words += [f"{items.taken} taken from earlier runs"] if items.taken else []
    return ", ".join(words)


def items_table(items: Sequence[ItemInfo]) -> Table:
    """Items of a fan-out, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("index", justify="right", no_wrap=True)
    table.add_column("item", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("attempt", justify="right", no_wrap=True)
    table.add_column("outputs, or why", overflow="fold")
    for one in items:
        outputs = ", ".join(f"{name} = {show(value)}" for name, value in one.outputs.items())
        last = Text(one.message or outputs or one.engine_run)
        table.add_row(str(one.index), Text(label(one.item)), state_text(one.state), str(one.attempt or ""), last)
    return table


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
    asking = [line for step in run.steps for line in approval_lines(run.id, step)]
    return Group(headline(run, now), steps_table(run, now), *asking)


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
    if run.parent:
        console.print(Text(f"a step of {run.parent}   (meta get {run.parent})", style="dim"), soft_wrap=True)
    for step in run.steps:
        for line in approval_lines(run.id, step):
            console.print(line, soft_wrap=True)
        if step.child:
            words = f"{step.name}: run {step.child}   (meta get {step.child})"
            console.print(Text(words, style="dim"), soft_wrap=True)
        if step.items is not None and step.items.failed:
            words = f"{step.name}: {progress_of(step)}; meta get {run.id} --items {step.name} --state failed"
            console.print(Text(words, style="yellow"), soft_wrap=True)
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
    lists = [(step.name, name, found) for step in run.steps for name, found in step.artifact_lists.items()]
    if artifacts or lists:
        console.print(Text("artifacts", style="bold"))
        for step, artifact in artifacts:
            digest = f" sha256:{artifact.sha256[:12]}" if artifact.sha256 else ""
            size = f" {artifact.size:,} bytes" if artifact.size is not None else ""
            console.print(Text(f"  {step}.{artifact.name} {artifact.uri}{digest}{size}"), soft_wrap=True)
    for step, name, found in lists:
        first = next((one.uri for one in found if one is not None), "")
        count = sum(one is not None for one in found)
        words = f"  {step}.{name} {count} of {len(found)} items, the first {first}"
        console.print(Text(words), soft_wrap=True)
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


def use_cases_table(engines: Sequence[EngineInfo]) -> Table | None:
    """Where steps run that name a use case; None when the service knows no use cases."""
    rows = sorted((use_case, one.name) for one in engines for use_case in one.use_cases)
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("use case", "engine"):
        table.add_column(name, no_wrap=True)
    for use_case, engine in rows:
        table.add_row(use_case, engine)
    return table
