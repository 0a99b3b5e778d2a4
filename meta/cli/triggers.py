"""Commands on what starts runs by itself: triggers, and delete, which ends them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import EXIT_FAILED, Output, OutputOption, client_of, print_json, run_async, stderr, stdout
from meta.cli.event_render import print_trigger_messages, print_triggers, trigger_lines
from meta.cli.schedules import print_schedules
from meta.client import MetaClient, PublishedInfo, ScheduleInfo, TriggerInfo
from workflows.errors import InvalidInput, MetaError, NotFound, ServiceUnavailable
from workflows.suggest import did_you_mean


def triggers(
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(metavar="[NAME]", help="Only triggers of this workflow.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the triggers of published workflows and how they stand at NATS; below them the schedules.

    waiting: messages in the stream that the trigger has yet to see, and those that are under way.

    Example: meta triggers hybrid-training

    Exit code: 0, or 1 when one is failing.
    """

    async def body() -> tuple[list[TriggerInfo], list[ScheduleInfo]]:
        async with client_of(context) as client:
            found = await client.triggers(workflow)
            if output is Output.JSON:  # `meta schedules` has the others
                return found, []
            try:
                return found, await client.schedules(workflow)
            except NotFound:  # its consumer outlives its definition
                return found, []
            except ServiceUnavailable as error:  # Temporal, which messages do not need to be looked at
                stderr().print(Text(f"schedules: {error.message}", style="yellow"), soft_wrap=True)
                return found, []

    found, schedules = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        if found:
            print_triggers(stdout(), found)
        if schedules:
            print_schedules(stdout(), schedules)
        if not found and not schedules:
            stdout().print(Text("no triggers"))
        print_trigger_messages(stderr(), found)
    if any(one.state == "failing" for one in found):
        raise typer.Exit(EXIT_FAILED)


def delete(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published workflow.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take a published name back: nothing starts by it, and its triggers end. Its runs go on.

    Publishing it again brings all of it back; messages that came meanwhile start nothing.

    Example: meta delete hybrid-training
    """
    if output is Output.JSON and not yes:
        raise InvalidInput("delete asks first, and JSON has no place for it", hint="add --yes")
    published = run_async(_find(client_of(context), name))
    if output is Output.TEXT:
        console = stdout()
        for line in trigger_lines(published.definition):
            console.print(Text(f"ends: {line}"), soft_wrap=True)
        console.print(Text(f"runs of {name} go on; nothing starts by the name any more"), soft_wrap=True)
    if not yes:
        typer.confirm(f"Take {name} (version {published.version}) back?", abort=True)

    async def body() -> int:
        async with client_of(context) as client:
            return await client.delete_workflow(name)

    ended = run_async(body())
    if output is Output.JSON:
        print_json({"name": name, "triggers": ended})
    else:
        stdout().print(Text(f"{name} is no longer published"), soft_wrap=True)


async def _find(made: MetaClient, name: str) -> PublishedInfo:
    async with made as client:
        published = {one.name: one for one in await client.workflows()}
    if name not in published:
        raise NotFound(
            f"no workflow {name!r} is published", hint=did_you_mean(name, published, what="published workflows")
        )
    return published[name]


async def tell_triggers(client: MetaClient, published: PublishedInfo) -> None:
    """Say what starts a workflow that was just published, and warn when nothing can."""
    lines = trigger_lines(published.definition)
    if not lines:
        return
    for line in lines:
        stdout().print(Text(f"  {line}"), soft_wrap=True)
    try:
        standings = await client.triggers(published.name)
    except MetaError:  # it is published; how its triggers stand is for `meta triggers` to say
        return
    print_trigger_messages(stderr(), [one for one in standings if one.state in ("off", "failing")])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(triggers)
    app.command()(delete)
