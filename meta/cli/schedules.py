"""`meta schedules`: when published workflows run by themselves; paused, resumed and fired here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from meta.cli.common import Output, OutputOption, client_of, print_json, run_async, stdout
from meta.cli.listing import print_list
from meta.client import MetaClient, ScheduleInfo
from workflows.errors import InvalidInput

_STYLES = {"ok": "green", "missing": "yellow", "unknown": "yellow", "paused": "yellow"}


def schedules(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(metavar="[NAME]", help="Only schedules of this workflow.")] = "",
    trigger: Annotated[str, typer.Argument(metavar="[SCHEDULE]", help="Only this one of them.")] = "",
    pause: Annotated[bool, typer.Option("--pause", help="Pause: no run starts until it is resumed.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume.")] = False,
    fire: Annotated[bool, typer.Option("--fire", help="Start a run now, as the schedule would.")] = False,
    note: Annotated[str, typer.Option("--note", help="Why; shown here and in Temporal.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the schedules of published workflows; pause, resume or fire them.

    One that is paused stays so when its workflow is published again, unless the definition says `paused`. --fire keeps
    to the schedule's `overlap`: by default nothing starts while a run goes on.

    Example: meta schedules report --pause --note "the source is down"; meta schedules report nightly --fire
    """
    if sum((pause, resume, fire)) > 1:
        raise InvalidInput("give one of --pause, --resume, --fire", hint="one at a time")
    if (pause or resume or fire) and not workflow:
        raise InvalidInput("name a workflow", hint="as in meta schedules report --pause")

    async def body() -> list[ScheduleInfo]:
        async with client_of(context) as client:
            return await _call(client, workflow, trigger, note, pause=pause, resume=resume, fire=fire)

    found = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in found])
    elif found:
        print_schedules(stdout(), found)
    else:
        stdout().print(Text("no schedules"))


async def _call(
    client: MetaClient, workflow: str, trigger: str, note: str, *, pause: bool, resume: bool, fire: bool
) -> list[ScheduleInfo]:
    if pause:
        return await client.pause_schedule(workflow, trigger, note)
    if resume:
        return await client.resume_schedule(workflow, trigger, note)
    if fire:
        return await client.fire_schedule(workflow, trigger)
    return await client.schedules(workflow, trigger)


def print_schedules(console: Console, found: Sequence[ScheduleInfo]) -> None:
    """Schedules, a line each, and below it why one is paused or not as it is to be."""
    print_list(
        console,
        ("workflow", "schedule", "state", "times", "next", "last run"),
        [
            (
                (
                    one.workflow,
                    one.trigger,
                    Text(word := "paused" if one.paused else one.state, style=_STYLES.get(word, "")),
                    one.times,
                    f"{one.next[0]:%Y-%m-%d %H:%M:%S}" if one.next else "",
                    one.last_run_id,
                ),
                [words for words in (one.note, one.message) if words],
            )
            for one in found
        ],
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(schedules)
