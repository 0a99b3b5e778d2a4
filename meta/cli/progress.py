"""A run as it goes: a table that changes in a terminal, lines elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from meta.cli.render import duration_text, live_view
from meta.client import MetaClient, RunView
from workflows.messages import StepSnapshot
from workflows.outcome import StepState


async def follow(client: MetaClient, run_id: str, console: Console) -> RunView:
    """Show a run until it has ended.

    Returns:
        The run at its end.

    Raises:
        NotFound: there is none of this id.
        ServiceUnavailable: the service stays away.
    """
    return await (_follow_live if console.is_terminal else _follow_lines)(client, run_id, console)


async def _follow_live(client: MetaClient, run_id: str, console: Console) -> RunView:
    run: RunView | None = None

    def show() -> Text | object:
        return live_view(run) if run is not None else Text(f"{run_id} ...")

    with Live(console=console, refresh_per_second=4, get_renderable=show) as live:  # pyright: ignore[reportArgumentType]
        async for run in client.watch(run_id):  # noqa: B007 -- `show` reads it
            live.refresh()
    assert run is not None  # watch gives at least one
    return run


async def _follow_lines(client: MetaClient, run_id: str, console: Console) -> RunView:
    shown: dict[str, tuple[StepState, int]] = {}
    run: RunView | None = None
    async for run in client.watch(run_id):
        for step in run.steps:
            if step.state is not StepState.PENDING and shown.get(step.name) != (step.state, step.attempt):
                shown[step.name] = (step.state, step.attempt)
                console.print(_line(step), soft_wrap=True)
    assert run is not None  # watch gives at least one
    console.print(Text(f"{_clock()} {run.id} {run.state.value} {run.message}".rstrip()), soft_wrap=True)
    return run


def _line(step: StepSnapshot) -> Text:
    words = [_clock(), step.name, step.state.value + (", continued" if step.continued else "")]
    words.append(f"({step.engine or step.kind.value}")
    words[-1] += f", attempt {step.attempt})" if step.attempt else ")"
    if step.taken_from is not None:
        words.append(step.taken_from.words(step.name))
    if step.cached_nodes:
        words.append(f"{step.cached_nodes} of {step.nodes} nodes cached")
    if step.duration is not None:
        words.append(f"in {duration_text(step.duration)}")
    words.append(step.message or (_what_runs(step) if step.state is StepState.RUNNING else ""))
    return Text(" ".join(word for word in words if word))


def _what_runs(step: StepSnapshot) -> str:
    """The engine run, or the meta-run, that a step waits for."""
    return step.run.name if step.run is not None else step.child


def _clock() -> str:
    return datetime.now(UTC).strftime("%H:%M:%S")
