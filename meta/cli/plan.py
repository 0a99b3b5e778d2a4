"""The command `meta plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from meta.cli.common import EXIT_FAILED, EXIT_INPUT, Output, OutputOption, client_of, print_json, run_async, stdout
from meta.cli.given import Given
from meta.cli.targets import find_target
from meta.client.plans import PlanInfo, PlannedStepInfo

_COLOURS = {"run": "green", "skip": "dim", "cached": "cyan", "unknown": "yellow", "fail": "red"}
_MARKS = {"ok": "green", "warn": "yellow", "skip": "dim", "fail": "red"}
_VALUE = 60  # characters of a value that are shown


def plan(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A published name, a name of the catalogue, or a file.")
    ],
    pairs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="An input; may be repeated.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option("--inputs", metavar="FILE", help="Inputs as YAML or JSON.")] = None,
    inputs_json: Annotated[str, typer.Option("--inputs-json", metavar="JSON", help="Inputs as an object.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the engines.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what a start would run, without running anything: steps, values, cache hits, and what the engines say.

    Example: meta plan chain.yaml -i learning_rate=0.1

    Exit code: 0 when a run would begin and nothing is known that it would fail by; 1 when something is; 2 when the
    definition or the inputs are wrong.
    """

    async def body() -> PlanInfo:
        async with client_of(context) as client:
            found = await find_target(client, target)
            given = Given(pairs or [], inputs, inputs_json).inputs(found.definition)
            return await client.plan(found.what, given, offline=offline)

    planned = run_async(body())
    if output is Output.JSON:
        print_json(planned.model_dump(mode="json"))
    else:
        print_plan(stdout(), planned)
    if planned.problems:
        raise typer.Exit(EXIT_INPUT)
    if not planned.ok:
        raise typer.Exit(EXIT_FAILED)


def print_plan(console: Console, planned: PlanInfo) -> None:
    """Write a plan for people."""
    for problem in planned.problems:
        # Inputs have no place in a file.
        words = (
            str(problem)
            if problem.line
            else f"error: {problem.message}" + (f"; {problem.hint}" if problem.hint else "")
        )
        console.print(Text(words, style="red"), soft_wrap=True)
    if planned.problems:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "runs", "after", "will"):
        table.add_column(column, overflow="fold", no_wrap=column == "step")
    for step in planned.steps:
        table.add_row(Text(step.name), _runs(step), Text(", ".join(step.after) or "-"), _will(step))
    console.print(table)
    for step in planned.steps:
        _print_values(console, step)
    console.print()
    size = f"{planned.history_events:,} events, {planned.history_bytes / 1024:,.0f} KB"
    console.print(Text(f"Temporal's history: about {size} (of 51,200 and 50 MB)"), soft_wrap=True)
    wrong = [step.name for step in planned.steps if step.what == "fail" or _failed(step)]
    if planned.ok:
        console.print(Text("nothing stands in the way", style="green"))
    else:
        words = f"would fail: {', '.join(wrong)}" if wrong else "the history would be too large; run it in parts"
        console.print(Text(words, style="red"), soft_wrap=True)


def _runs(step: PlannedStepInfo) -> Text:
    many = "" if step.items == 0 else "for each item, " if step.items < 0 else f"{step.items} times "
    on = f" on {step.engine}" if step.engine else ""
    return Text(f"{many}{step.runs}{on}")


def _will(step: PlannedStepInfo) -> Text:
    word = {"unknown": "may run", "cached": "is cached", "fail": "fail"}.get(step.what, step.what)
    from_run = f", from {step.taken_from.run}" if step.taken_from is not None else ""
    why = f": {step.why}" if step.why else ""
    return Text(f"{word}{from_run}", style=_COLOURS[step.what]) + Text(why)


def _print_values(console: Console, step: PlannedStepInfo) -> None:
    """What a step is given, and what was said of it; nothing for a step that does not run."""
    if step.what == "skip" or not (step.values or step.unknown or step.checks):
        return
    console.print(Text(f"\n{step.name}", style="bold"))
    for name, value in step.values.items():
        console.print(Text(f"  {name} = {_short(json.dumps(value, ensure_ascii=False))}"), soft_wrap=True)
    for name, text in step.unknown.items():
        console.print(Text(f"  {name} = {_short(text)}", style="dim"), soft_wrap=True)
    for check in step.checks:
        words = Text(f"  {check.verdict:4} ", style=_MARKS[check.verdict]) + Text(f"{check.name}: {check.detail}")
        console.print(words, soft_wrap=True)
        if check.hint and check.verdict != "ok":
            console.print(Text(f"       {check.hint}", style="dim"), soft_wrap=True)


def _failed(step: PlannedStepInfo) -> bool:
    return any(check.verdict == "fail" for check in step.checks)


def _short(text: str) -> str:
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 3]}..."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)
