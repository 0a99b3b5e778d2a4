"""`meta retry`: go on where a run stopped, with what it has finished."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import Output, OutputOption, client_of, print_json, run_async, stdout
from meta.cli.given import Given
from meta.cli.progress import follow as follow_run
from meta.cli.runs import RunArgument, detached, print_end
from meta.client import MetaClient, RetriedRun, RunView
from workflows.bundle import Bundle, build_bundle
from workflows.values import JsonObject, ValueType


def retry(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    run_id: RunArgument,
    from_step: Annotated[
        str, typer.Option("--from", metavar="STEP", help="Run this step and all that depends on it again.")
    ] = "",
    pairs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="An input that changes.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option("--inputs", metavar="FILE", help="The same as YAML or JSON.")] = None,
    inputs_json: Annotated[str, typer.Option("--inputs-json", metavar="JSON", help="The same as an object.")] = "",
    definition: Annotated[
        Path | None,
        typer.Option("--definition", metavar="FILE", help="A changed definition of the same workflow."),
    ] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Show progress to the end. Default: in a terminal.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="What runs again takes no earlier success of a cache.")
    ] = False,
    request_id: Annotated[str, typer.Option("--request-id", help="Again with the same one: the same run.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Retry a run that has ended: a new run takes its finished steps over and runs the rest.

    A step is taken over when it has succeeded, its definition and the inputs it reads are the same, its artifacts are
    still what they were, and so is everything it depends on. Why the others run again is printed.

    Example: meta retry hybrid-training-1f0c2a9b3d --from evaluate --definition mended.yaml --follow

    Exit code: 0, or 1 when the run is followed and does not succeed.
    """
    following = follow if follow is not None else sys.stdout.isatty() and output is Output.TEXT
    retried: RetriedRun | None = None
    given = Given(pairs or [], inputs, inputs_json)

    async def body() -> RunView | None:
        nonlocal retried
        async with client_of(context) as client:
            bundle = None if definition is None else build_bundle(definition)
            retried = await client.retry(
                run_id,
                from_step=from_step,
                inputs=await _changes(client, run_id, given, bundle),
                source=bundle,
                request_id=request_id,
                no_cache=no_cache,
            )
            if output is Output.TEXT:
                _print(retried, run_id)
            if not following:
                return None
            if output is Output.JSON:
                return await client.wait(retried.id)
            return await follow_run(client, retried.id, stdout())

    try:
        ended = run_async(body())
    except KeyboardInterrupt:
        if retried is not None:
            detached(retried.id)
        raise
    if ended is not None:
        print_end(ended, output)
    elif retried is not None and output is Output.JSON:
        print_json(retried.model_dump(mode="json"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retry)


async def _changes(client: MetaClient, run_id: str, given: Given, bundle: Bundle | None) -> JsonObject:
    """The inputs that change. Without a definition at hand, what is a text in the run is a text here too."""
    if bundle is not None:
        return given.inputs(bundle.definition)
    if not given.pairs:
        return given.typed({})
    known = (await client.get(run_id)).inputs
    return given.typed({name: ValueType.STRING for name, value in known.items() if isinstance(value, str)})


def _print(retried: RetriedRun, run_id: str) -> None:
    console = stdout()
    words = "started" if retried.created else "this request has started it already:"
    console.print(Text(f"{words} {retried.id}, a retry of {run_id}"), soft_wrap=True)
    if retried.taken:
        console.print(Text(f"  taken over: {', '.join(retried.taken)}"), soft_wrap=True)
    for step, reason in retried.again.items():
        console.print(Text(f"  runs again: {step}: {reason}"), soft_wrap=True)
    if retried.temporal_url:
        console.print(Text(retried.temporal_url, style="dim"), soft_wrap=True)
