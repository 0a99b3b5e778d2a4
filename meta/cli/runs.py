"""Commands on runs: run, get, list, watch, cancel, logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    Output,
    OutputOption,
    client_of,
    print_json,
    run_async,
    stderr,
    stdout,
)
from meta.cli.failures import kubectl_logs
from meta.cli.given import Given
from meta.cli.progress import follow as follow_run
from meta.cli.render import items_table, print_results, print_run, runs_table
from meta.cli.results import Results, ResultsOption
from meta.cli.stopping import OnStop, Stop
from meta.cli.targets import find_target
from meta.client import ItemInfo, MetaClient, RunView, StartedRun
from meta.client.tracing import trace_of_environment
from workflows.errors import InvalidInput
from workflows.outcome import RunState, StepKind, StepState

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]


def run(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A published name, a name of the catalogue, or a file.")
    ],
    pairs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="An input; may be repeated.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option("--inputs", metavar="FILE", help="Inputs as YAML or JSON.")] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Show progress to the end. Default: in a terminal.")
    ] = None,
    request_id: Annotated[str, typer.Option("--request-id", help="Again with the same one: the same run.")] = "",
    inputs_json: Annotated[str, typer.Option("--inputs-json", metavar="JSON", help="Inputs as an object.")] = "",
    results: ResultsOption = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step, also those whose cache has an earlier success.")
    ] = False,
    on_stop: Annotated[
        OnStop, typer.Option("--on-stop", help="What SIGTERM does to the run that is followed: cancel, or leave it.")
    ] = OnStop.LEAVE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start a run.

    Example: meta run hybrid-training -i learning_rate=0.05 --follow

    Exit code: 0, or 1 when the run is followed and does not succeed; 143 when SIGTERM has cancelled it.
    """
    following = follow if follow is not None else sys.stdout.isatty() and output is Output.TEXT
    started: StartedRun | None = None
    written = Results(results)

    async def body() -> RunView | None:
        nonlocal started
        with Stop(on_stop) as stop:
            async with client_of(context) as client:
                given = Given(pairs or [], inputs, inputs_json)
                started = await _start(client, target, given, request_id, no_cache=no_cache)
                written.started(started.id)
                if not following:
                    return None
                following_it = client.wait(started.id) if output is Output.JSON else _show_run(client, started)
                return await stop.unless_stopped(following_it, client, started.id)

    try:
        ended = run_async(body())
    except KeyboardInterrupt:
        if started is not None:
            detached(started.id)
        raise
    if ended is not None:
        written.ended(ended.state, ended.message, ended.outputs)
        print_end(ended, output)
    elif started is not None:
        _print_started(started, output)


def get(
    context: typer.Context,
    run_id: RunArgument,
    items: Annotated[
        str, typer.Option("--items", metavar="STEP", help="The items of this step, which has foreach, instead.")
    ] = "",
    state: Annotated[StepState | None, typer.Option("--state", "-s", help="Only items in this state.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a run: its steps, outputs and artifacts.

    Example: meta get hybrid-training-1f0c2a9b3d
    Example: meta get tune-1f0c2a9b3d --items train --state failed   (what failed of a fan-out)
    """
    if items:
        _print_items(context, (run_id, items), state, output)
        return
    if state is not None:
        raise InvalidInput("--state goes with --items STEP", hint="`meta list --state` filters runs")

    async def body() -> RunView:
        async with client_of(context) as client:
            return await client.get(run_id)

    found = run_async(body())
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
    else:
        print_run(stdout(), found)


def list_runs(
    context: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", help="Only runs of this workflow.")] = "",
    state: Annotated[RunState | None, typer.Option("--state", "-s", help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 20,
    output: OutputOption = Output.TEXT,
) -> None:
    """List runs, newest first.

    Example: meta list --workflow hybrid-training --state failed
    """

    async def body() -> list[RunView]:
        async with client_of(context) as client:
            return (await client.list(workflow=workflow, state=state, size=limit)).runs

    runs = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json", exclude={"steps"}) for one in runs])
    else:
        stdout().print(runs_table(runs) if runs else Text("no runs"))


def watch(context: typer.Context, run_id: RunArgument, output: OutputOption = Output.TEXT) -> None:
    """Follow a run to its end. Ctrl-C stops following, not the run.

    Example: meta watch hybrid-training-1f0c2a9b3d --output json   (one line for each change)

    Exit code: 0, or 1 when the run does not succeed.
    """

    async def body() -> RunView:
        async with client_of(context) as client:
            if output is Output.TEXT:
                return await follow_run(client, run_id, stdout())
            last: RunView | None = None
            async for last in client.watch(run_id):
                print_json(last.model_dump(mode="json"))
            assert last is not None  # watch gives at least one
            return last

    try:
        ended = run_async(body())
    except KeyboardInterrupt:
        detached(run_id)
        raise
    if output is Output.TEXT:
        print_results(stdout(), ended)
    _exit_by(ended)


def cancel(
    context: typer.Context,
    run_id: RunArgument,
    reason: Annotated[str, typer.Option("--reason", help="Shown in Temporal.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Cancel a run: its engine runs are ended, then it is.

    Example: meta cancel hybrid-training-1f0c2a9b3d --reason "wrong data"
    """

    async def body() -> bool:
        async with client_of(context) as client:
            return await client.cancel(run_id, reason)

    accepted = run_async(body())
    if output is Output.JSON:
        print_json({"id": run_id, "accepted": accepted})
    else:
        stdout().print(Text(f"{run_id}: cancelling" if accepted else f"{run_id} had ended already"), soft_wrap=True)


def logs(
    context: typer.Context,
    run_id: RunArgument,
    step: Annotated[str, typer.Argument(metavar="[STEP]", help="Only this step.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the log of a run's steps, as their engines have it.

    KFP's API has no logs of pods; of its steps the errors are printed, and the kubectl command for the rest.

    Example: meta logs hybrid-training-1f0c2a9b3d train --follow
    """

    async def body() -> None:
        async with client_of(context) as client:
            async for line in client.logs(run_id, step, follow=follow):
                if output is Output.JSON:
                    print_json(line.model_dump(mode="json"))
                else:
                    sys.stdout.write(f"{line.step} {line.node}: {line.text}\n")
                    sys.stdout.flush()
            if output is Output.TEXT:
                _tell_where_more_is(await client.get(run_id), step)

    run_async(body())


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(get)
    app.command(name="list")(list_runs)
    app.command()(watch)
    app.command()(cancel)
    app.command()(logs)


async def _start(client: MetaClient, target: str, given: Given, request_id: str, *, no_cache: bool) -> StartedRun:
    """Find out what is meant, read the inputs by its declared types, and start it.

    The run continues the trace that the command was given in its environment.
    """
    found = await find_target(client, target)
    trace = trace_of_environment(os.environ)
    return await client.start(
        found.what, given.inputs(found.definition), request_id=request_id, trace=trace, no_cache=no_cache
    )


async def _show_run(client: MetaClient, started: StartedRun) -> RunView:
    console = stdout()
    _print_started(started, Output.TEXT)
    return await follow_run(client, started.id, console)


def _print_started(started: StartedRun, output: Output) -> None:
    if output is Output.JSON:
        print_json(started.model_dump(mode="json"))
        return
    console = stdout()
    words = "started" if started.created else "this request has started it already:"
    console.print(Text(f"{words} {started.id}"), soft_wrap=True)
    if started.temporal_url:
        console.print(Text(started.temporal_url, style="dim"), soft_wrap=True)


def print_end(ended: RunView, output: Output) -> None:
    if output is Output.JSON:
        print_json(ended.model_dump(mode="json"))
    else:
        print_results(stdout(), ended)
    _exit_by(ended)


def _print_items(context: typer.Context, place: tuple[str, str], state: StepState | None, output: Output) -> None:
    async def body() -> list[ItemInfo]:
        async with client_of(context) as client:
            return [one async for one in client.items(*place, state=state)]

    found = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        stdout().print(items_table(found) if found else Text("no items that have ended" if state is None else "none"))


def _exit_by(ended: RunView) -> None:
    if ended.state is not RunState.SUCCEEDED:
        stderr().print(Text(f"run {ended.id} {ended.state.value}: {ended.message}".rstrip(": "), style="red"))
        raise typer.Exit(EXIT_FAILED)


def _tell_where_more_is(run: RunView, only: str) -> None:
    """What `meta logs` cannot show."""
    for one in run.steps:
        if one.taken_from is not None and only in ("", one.name):
            taken = one.taken_from
            words = f"{one.name}: {taken.words(one.name)}; its log: meta logs {taken.run} {taken.step}"
            stderr().print(Text(words, style="dim"), soft_wrap=True)
        if one.kind is StepKind.KFP and one.run is not None and only in ("", one.name):
            words = f"{one.name}: KFP's API has no logs of pods; while they are there: {kubectl_logs(one.run)}"
            stderr().print(Text(words, style="dim"), soft_wrap=True)


def detached(run_id: str) -> None:
    stderr().print(
        Text(f"\nnot following any more; the run goes on (exit code {EXIT_INTERRUPTED})\n")
        + Text(f"  follow again: meta watch {run_id}\n  cancel it:    meta cancel {run_id}"),
        soft_wrap=True,
    )
