"""`meta backfill`: a workflow run for every partition of a stretch of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, cast

import typer
from rich.text import Text
from typer.core import TyperGroup

from meta.cli.common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    MetaGroup,
    Output,
    OutputOption,
    client_of,
    print_json,
    run_async,
    stderr,
    stdout,
)
from meta.cli.given import Given
from meta.cli.listing import print_list
from meta.client import BackfillInfo, MetaClient
from workflows.errors import InvalidInput, NotFound
from workflows.spec.durations import format_duration, parse_duration
from workflows.suggest import did_you_mean
from workflows.values import JsonObject

_STYLES = {"running": "cyan", "paused": "yellow", "succeeded": "green", "failed": "bold red", "canceled": "yellow"}
_ID = Annotated[str, typer.Argument(metavar="ID", help="Of the backfill, as `meta backfill list` shows it.")]


def start(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published workflow.")],
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Begin: 2026-01-01, or RFC 3339.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="End, itself left out.")],
    step: Annotated[str, typer.Option("--step", metavar="DURATION", help="Of one partition: 1d, 6h, 15m.")],
    parallelism: Annotated[int, typer.Option("--parallelism", "-p", min=1, max=100, help="At a time.")] = 4,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="KEY=VALUE", help="An input; may read ${{ event.date }}. Repeatable."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run partitions that are done, too.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show progress to the end.")] = True,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a published workflow for every partition of a stretch of time. Those that are done are skipped.

    A run reads its partition as a schedule's run reads its time: event.time and event.end, event.date. Inputs are those
    that the definition's schedule gives, and over them -i. The same command again runs what failed, and nothing else.

    Example: meta backfill start report --from 2026-01-01 --to 2026-02-01 --step 1d -i 'day=${{ event.date }}'

    Exit code: 0, or 1 when it is followed and partitions failed.
    """
    first, last = _time(begin, "--from"), _time(end, "--to")
    try:
        length = parse_duration(step)
    except ValueError as error:
        raise InvalidInput(f"--step: {error}") from error
    begun: BackfillInfo | None = None

    async def body() -> BackfillInfo:
        nonlocal begun
        async with client_of(context) as client:
            inputs = await _inputs(client, name, pairs or [])
            begun = await client.backfill(
                name, first, last, length, parallelism=parallelism, inputs=inputs, again=again
            )
            if not follow:
                return begun
            if output is Output.TEXT:
                stdout().print(Text(f"backfill {begun.id}: {begun.total} partitions"), soft_wrap=True)
            return await _follow(client, begun.id, quiet=output is Output.JSON)

    try:
        found = run_async(body())
    except KeyboardInterrupt:
        if begun is not None:
            _detached(begun.id)
        raise
    _finish(found, output, followed=follow)


def list_backfills(
    context: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="Only of this workflow.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """List backfills, newest first.

    Example: meta backfill list --workflow report
    """

    async def body() -> list[BackfillInfo]:
        async with client_of(context) as client:
            return await client.backfills(workflow)

    found = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in found])
    elif found:
        _print(found)
    else:
        stdout().print(Text("no backfills"))


def watch(context: typer.Context, backfill: _ID, output: OutputOption = Output.TEXT) -> None:
    """Follow a backfill to its end. Ctrl-C stops following, not the backfill.

    Example: meta backfill watch backfill-report-1f0c2a9b3d4e5f60

    Exit code: 0, or 1 when partitions failed.
    """

    async def body() -> BackfillInfo:
        async with client_of(context) as client:
            return await _follow(client, backfill, quiet=output is Output.JSON)

    try:
        found = run_async(body())
    except KeyboardInterrupt:
        _detached(backfill)
        raise
    _finish(found, output, followed=True)


def pause(context: typer.Context, backfill: _ID, output: OutputOption = Output.TEXT) -> None:
    """Let no further partition begin; those that run go on.

    Example: meta backfill pause backfill-report-1f0c2a9b3d4e5f60
    """

    async def body() -> BackfillInfo:
        async with client_of(context) as client:
            return await client.pause_backfill(backfill)

    _finish(run_async(body()), output, followed=False)


def resume(context: typer.Context, backfill: _ID, output: OutputOption = Output.TEXT) -> None:
    """Let partitions begin again.

    Example: meta backfill resume backfill-report-1f0c2a9b3d4e5f60
    """

    async def body() -> BackfillInfo:
        async with client_of(context) as client:
            return await client.resume_backfill(backfill)

    _finish(run_async(body()), output, followed=False)


def cancel(context: typer.Context, backfill: _ID, output: OutputOption = Output.TEXT) -> None:
    """End a backfill; the runs of its partitions, and their engine runs, end first.

    Example: meta backfill cancel backfill-report-1f0c2a9b3d4e5f60
    """

    async def body() -> BackfillInfo:
        async with client_of(context) as client:
            return await client.cancel_backfill(backfill)

    _finish(run_async(body()), output, followed=False)


async def _inputs(client: MetaClient, name: str, pairs: list[str]) -> JsonObject:
    """Inputs by their declared types; those with an expression in them stay texts until a partition is at hand."""
    published = {one.name: one.definition for one in await client.workflows()}
    if name not in published:
        hint = did_you_mean(name, published, what="published workflows")
        raise NotFound(f"no workflow {name!r} is published", hint=hint)
    open_pairs = [pair for pair in pairs if "${{" in pair]
    inputs = Given([pair for pair in pairs if pair not in open_pairs]).inputs(published[name])
    for pair in open_pairs:
        key, _, text = pair.partition("=")
        inputs[key] = text
    return inputs


async def _follow(client: MetaClient, backfill: str, *, quiet: bool) -> BackfillInfo:
    """Watch it to its end; a line for each change."""
    shown = ""
    last: BackfillInfo | None = None
    async for last in client.watch_backfill(backfill):
        if not quiet and (line := _line(last)) != shown:
            stdout().print(Text(f"{datetime.now(UTC):%H:%M:%S} {line}"), soft_wrap=True)
            shown = line
    assert last is not None  # watching gives at least one
    return last


def _line(one: BackfillInfo) -> str:
    skipped = f" ({one.skipped} had been before)" if one.skipped else ""
    return f"{one.state}: {one.done} of {one.total} done{skipped}, {one.failed} failed, {one.running} running"


def _finish(found: BackfillInfo, output: Output, *, followed: bool) -> None:
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
    elif not followed:
        stdout().print(Text(f"{found.id} {_line(found)}"), soft_wrap=True)
    if followed and found.state != "succeeded":
        for words in found.failed_runs:
            stderr().print(Text(f"  {words}" if " " in words else f"  meta get {words}"), soft_wrap=True)
        if found.failed:
            stderr().print(Text("the same command again runs what failed, and nothing else", style="yellow"))
        raise typer.Exit(EXIT_FAILED)


def _print(found: list[BackfillInfo]) -> None:
    print_list(
        stdout(),
        ("backfill", "workflow", "state", "from", "to", "step", "done", "failed", "running"),
        [
            (
                (
                    one.id, one.workflow, Text(one.state, style=_STYLES.get(one.state, "")),
                    f"{one.start:%Y-%m-%d %H:%M}", f"{one.end:%Y-%m-%d %H:%M}", format_duration(one.step),
                    f"{one.done}/{one.total}", str(one.failed), str(one.running),
                ),
                [],
            )
            for one in found
        ],
    )  # fmt: skip


def _time(text: str, option: str) -> datetime:
    """A day, which begins at midnight UTC, or a point in time; one without a time zone is in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{option}: {text!r} is no time", hint="write it as 2026-01-01 or 2026-01-01T06:00:00Z"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _detached(backfill: str) -> None:
    stderr().print(
        Text(f"\nnot following any more; the backfill goes on (exit code {EXIT_INTERRUPTED})\n")
        + Text(f"  follow again: meta backfill watch {backfill}\n  end it:       meta backfill cancel {backfill}"),
        soft_wrap=True,
    )


class _Group(MetaGroup):
    """`meta backfill NAME ...` is `meta backfill start NAME ...`, unless the name is a command's."""

    def resolve_command(self, ctx: object, args: list[str]) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        known = cast("dict[str, object]", self.commands)
        given = args if args and (args[0] in known or args[0].startswith("-")) else ["start", *args]
        return TyperGroup.resolve_command(self, ctx, given)  # pyright: ignore[reportArgumentType, reportReturnType]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        cls=_Group, rich_markup_mode=None, no_args_is_help=True,
        help="Run a workflow for every partition of a stretch of time: meta backfill NAME --from .. --to .. --step 1d.",
    )  # fmt: skip
    group.command()(start)
    group.command(name="list")(list_backfills)
    group.command()(watch)
    group.command()(pause)
    group.command()(resume)
    group.command()(cancel)
    app.add_typer(group, name="backfill")
