"""The command `meta orphans`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from meta.cli.common import EXIT_FAILED, Output, OutputOption, client_of, print_json, run_async, stderr, stdout
from meta.client import EndedOrphan, EngineProblem, MetaClient, MissingInfo, OrphanInfo
from workflows.errors import InvalidInput


def orphans(
    context: typer.Context,
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="Only this engine.")] = "",
    terminate: Annotated[bool, typer.Option("--terminate", help="End the engine runs that are shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before ending them.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show engine runs that belong to no live meta-run, and running steps whose engine run is gone.

    The service ends most of them by itself. It leaves alone what a person has retried at the engine, and what may be
    another installation's; --terminate ends these too.

    Example: meta orphans --engine argo --terminate

    Exit code: 0, or 1 when an engine cannot be asked or a run has not ended.
    """
    if terminate and output is Output.JSON and not yes:
        raise InvalidInput("--terminate asks before it ends runs, and JSON has no place for it", hint="add --yes")
    found = _Found()
    run_async(found.read(client_of(context), engine))
    ended: list[EndedOrphan] = []
    if output is Output.TEXT:
        found.show(stdout())
    if terminate and found.orphans:
        runs = _count(len(found.orphans), "engine run")
        if not yes:
            typer.confirm(f"End {runs}?", abort=True)
        ended = run_async(_end(client_of(context), engine, found.orphans, quiet=output is Output.JSON))
    if output is Output.JSON:
        print_json(
            {
                "orphans": [one.model_dump(mode="json") for one in found.orphans],
                "missing": [one.model_dump(mode="json") for one in found.missing],
                "problems": [one.model_dump(mode="json") for one in found.problems],
                "ended": [one.model_dump(mode="json") for one in ended],
            }
        )
    for problem in found.problems:
        stderr().print(Text(f"engine {problem.engine} cannot be asked: {problem.message}", style="red"), soft_wrap=True)
        if problem.hint:
            stderr().print(Text(f"  {problem.hint}", style="yellow"), soft_wrap=True)
    if found.problems or not all(one.ended for one in ended):
        raise typer.Exit(EXIT_FAILED)


class _Found:
    """What the service has said."""

    def __init__(self) -> None:
        self.orphans: list[OrphanInfo] = []
        self.missing: list[MissingInfo] = []
        self.problems: list[EngineProblem] = []

    async def read(self, made: MetaClient, engine: str) -> None:
        async with made as client:
            async for news in client.orphans(engine):
                match news:
                    case OrphanInfo():
                        self.orphans.append(news)
                    case MissingInfo():
                        self.missing.append(news)
                    case EngineProblem():
                        self.problems.append(news)
                    case EndedOrphan():
                        pass  # nothing was to be ended

    def show(self, console: Console) -> None:
        if self.orphans:
            console.print(orphans_table(self.orphans))
        if self.missing:
            console.print(Text("running steps whose engine run is gone", style="bold"))
            for one in self.missing:
                console.print(
                    Text(f"  {one.meta_run} {one.step}: {one.run.name} ({one.run.uid}) at engine {one.run.engine}"),
                    soft_wrap=True,
                )
        if not self.orphans and not self.missing:
            console.print(Text("no orphans" + (" where engines could be asked" if self.problems else "")))


def orphans_table(orphans: Sequence[OrphanInfo]) -> Table:
    """Orphans, a line each; names are never cut, because they are there to be copied."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("engine", no_wrap=True)
    table.add_column("engine run", no_wrap=True, min_width=max(len(one.run.name) for one in orphans))
    for name in ("state", "created", "reason", "swept"):
        table.add_column(name, no_wrap=True)
    table.add_column("detail", overflow="fold")
    for one in orphans:
        table.add_row(
            one.run.engine,
            Text(one.run.name),
            Text(one.state),
            one.created_at.strftime("%Y-%m-%d %H:%M:%S") if one.created_at else "",
            Text(one.reason),
            "yes" if one.swept else "no",
            Text(one.detail),
        )
    return table


async def _end(made: MetaClient, engine: str, found: Sequence[OrphanInfo], *, quiet: bool) -> list[EndedOrphan]:
    """End what was shown, and only that; the service judges each anew, so what is in order by now stays."""
    ended: list[EndedOrphan] = []
    uids = {one.run.uid for one in found}
    async with made as client:
        async for news in client.orphans(engine, terminate=True, uids=uids):
            if isinstance(news, EndedOrphan):
                ended.append(news)
                if not quiet:
                    words = "ended" if news.ended else f"not ended: {news.message}"
                    stdout().print(Text(f"{len(ended)}/{len(found)} {news.name}: {words}"), soft_wrap=True)
    if not quiet:
        failed = sum(not one.ended for one in ended)
        gone = len(found) - len(ended)
        more = f", {failed} not" if failed else ""
        more += f", {gone} needed no ending any more" if gone else ""
        stdout().print(Text(f"{_count(len(ended) - failed, 'engine run')} ended{more}"))
    return ended


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(orphans)
