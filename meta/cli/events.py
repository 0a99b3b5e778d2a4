"""`meta events`: messages that asked for runs; dead ones are looked at, tried again and given up here."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import (
    EXIT_FAILED,
    MetaGroup,
    Output,
    OutputOption,
    client_of,
    print_json,
    run_async,
    stdout,
)
from meta.cli.event_render import events_table, print_event, print_reason, readable, replayed_line
from meta.client import EventInfo, MetaClient, ReplayedInfo
from workflows.errors import InvalidInput

_PAGE = 500


class Outcome(StrEnum):
    STARTED = "started"
    HELD = "held"
    DEAD = "dead"
    DISCARDED = "discarded"


Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Events; the beginning of an id is enough.")]
WorkflowOption = Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="Only those that asked for it.")]


def list_events(
    context: typer.Context,
    *,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="Only events of this outcome.")] = Outcome.DEAD,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Events of every outcome.")] = False,
    workflow: WorkflowOption = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 20,
    output: OutputOption = Output.TEXT,
) -> None:
    """List messages that asked for runs, newest first; by default the dead ones, which could start none.

    started: has its run. held: waits for others of its batch. dead: can start none as it is; it is kept. discarded: was
    given up.

    Example: meta events --workflow hybrid-training; meta events show 3f9c; meta events replay --all
    """
    if context.invoked_subcommand is not None:
        return

    async def body() -> list[EventInfo]:
        async with client_of(context) as client:
            wanted = "" if everything else outcome.value
            return (await client.events(workflow=workflow, outcome=wanted, size=limit)).events

    found = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json", exclude={"data"}) for one in found])
    elif found:
        stdout().print(events_table(found))
    else:
        stdout().print(Text("no events" if everything else f"no {outcome} events; --all lists all"))


def show(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event; the beginning of its id is enough.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show all about an event: why it is dead, its headers, its data.

    Example: meta events show 3f9c
    """

    async def body() -> EventInfo:
        async with client_of(context) as client:
            return await client.event(event_id)

    event = run_async(body())
    if output is Output.JSON:
        kind, text = readable(event.data, event.headers)
        print_json({**event.model_dump(mode="json"), "data_kind": kind, "data_text": text})
    else:
        print_event(stdout(), event)


def replay(
    context: typer.Context,
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Events; the beginning of an id is enough.")
    ] = None,
    *,
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="All dead ones of it.")] = "",
    everything: Annotated[bool, typer.Option("--all", "-a", help="All dead ones.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before replaying what --all finds.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Try dead events again, as if they came now, under the newest definition.

    Each starts one run at most, however often it is replayed. One that fails again stays dead, with the new reason.

    Example: meta events replay 3f9c; meta events replay --workflow hybrid-training

    Exit code: 0, or 1 when some stay dead.
    """
    if sum((bool(event_ids), bool(workflow), everything)) != 1:
        raise InvalidInput("name events, or --workflow, or --all", hint="exactly one of the three")
    wanted = list(event_ids or []) or _ask(context, workflow, quiet=output is Output.JSON, yes=yes)
    done = run_async(_replay(client_of(context), wanted, quiet=output is Output.JSON)) if wanted else []
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in done])
    if any(_failed(one) for one in done):
        raise typer.Exit(EXIT_FAILED)


def discard(context: typer.Context, event_ids: Ids, output: OutputOption = Output.TEXT) -> None:
    """Give dead events up: they are no longer listed as dead, and their data go.

    Example: meta events discard 3f9c
    """

    async def body() -> int:
        async with client_of(context) as client:
            return await client.discard(event_ids)

    count = run_async(body())
    if output is Output.JSON:
        print_json({"discarded": count})
    else:
        stdout().print(Text(f"{_count(count)} discarded"))


def _ask(context: typer.Context, workflow: str, *, quiet: bool, yes: bool) -> list[str]:
    """Ids of all dead events, once the person has seen how many there are."""
    if quiet and not yes:
        raise InvalidInput("this asks before it replays, and JSON has no place for it", hint="add --yes")
    found = run_async(_dead(client_of(context), workflow))
    if not quiet and not found:
        stdout().print(Text("no dead events"))
    if found and not yes:
        typer.confirm(f"Replay {_count(len(found), 'dead ')}?", abort=True)
    return found


async def _dead(made: MetaClient, workflow: str) -> list[str]:
    """Ids of dead events, oldest first."""
    found: list[str] = []
    token = ""
    async with made as client:
        while True:
            page = await client.events(workflow=workflow, outcome="dead", size=_PAGE, token=token)
            found += [one.id for one in page.events]
            token = page.next_token
            if not token:
                return found[::-1]


async def _replay(made: MetaClient, event_ids: list[str], *, quiet: bool) -> list[ReplayedInfo]:
    done: list[ReplayedInfo] = []
    async with made as client:
        async for one in client.replay(event_ids):
            done.append(one)
            if not quiet:
                stdout().print(Text(f"{len(done)}/{len(event_ids)} ") + replayed_line(one), soft_wrap=True)
                if one.hint:
                    print_reason(stdout(), "", one.hint)
    if not quiet:
        runs = sum(bool(one.run_id) for one in done)
        failed = sum(_failed(one) for one in done)
        gone = len(done) - runs - failed
        more = f", {gone} not wanted any more" if gone else ""
        more += f", {failed} not started" if failed else ""
        stdout().print(Text(f"{_count(len(done))}: {runs} with a run{more}"))
    return done


def _failed(one: ReplayedInfo) -> bool:
    """Whether an event has no run although nobody says that none is wanted."""
    return not one.run_id and (one.outcome != "discarded" or bool(one.code))


def _count(number: int, kind: str = "") -> str:
    return f"{number} {kind}event{'' if number == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(cls=MetaGroup, rich_markup_mode=None)
    group.callback(invoke_without_command=True)(list_events)
    group.command()(show)
    group.command()(replay)
    group.command()(discard)
    app.add_typer(group, name="events")
