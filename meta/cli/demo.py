"""`meta demo`: the main job on the embedded stack, from nothing to a deployed model."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from meta.cli.common import EXIT_FAILED, EXIT_INTERRUPTED, Output, OutputOption, print_json, stderr, stdout
from meta.cli.given import Given
from meta.cli.progress import follow
from meta.cli.render import print_results
from meta.cli.shipped import catalog
from meta.cli.stack import DataDir, Environments, say
from meta.client import MetaClient, RunView
from meta.stack import EmbeddedStack, StackOptions
from workflows.bundle import Bundle, build_bundle
from workflows.messages import StepSnapshot
from workflows.outcome import RunState
from workflows.values import JsonObject

CHAIN = "hybrid-training"


def demo(
    *,
    data_dir: DataDir = Path(".meta"),
    environments: Environments = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="An input; may be repeated.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the chain hybrid-training on an embedded stack of its own, then stop the stack.

    Prepares handwritten digits on Argo, trains and evaluates a model on Kubeflow Pipelines, deploys it on Argo. Once
    more with the same inputs, training is served from KFP's cache.

    Example: meta demo -i learning_rate=0.02
    """
    bundle = build_bundle(next(chain.file for chain in catalog() if chain.name == CHAIN))
    inputs = Given(pairs or ()).inputs(bundle.definition)
    console = stderr() if output is Output.JSON else stdout()
    options = StackOptions(data_dir=data_dir, environments=environments, well_known_ports=True, listener=say)
    try:
        run = asyncio.run(_run(options, bundle, inputs, console))
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if output is Output.JSON:
        print_json(as_json(run))
    else:
        _print_end(run, console, data_dir)
    if run.state is not RunState.SUCCEEDED:
        raise typer.Exit(EXIT_FAILED)


def as_json(run: RunView) -> JsonObject:
    """What `meta demo --output json` prints: plain names that scripts can rely on."""
    return {
        "run_id": run.id,
        "state": run.state.value,
        "message": run.message,
        "outputs": run.outputs,
        "steps": [_step(step) for step in run.steps],
        "temporal_url": run.temporal_url,
    }


def _step(step: StepSnapshot) -> JsonObject:
    return {
        "name": step.name,
        "engine": step.engine,
        "engine_run": step.run.name if step.run is not None else None,
        "state": step.state.value,
        "attempt": step.attempt,
        "seconds": round(step.duration.total_seconds(), 3) if step.duration is not None else None,
        "cached_nodes": step.cached_nodes,
        "message": step.message,
        "artifacts": [
            {"name": a.name, "uri": a.uri, "sha256": a.sha256, "size": a.size} for a in step.artifacts.values()
        ],
    }


async def _run(options: StackOptions, bundle: Bundle, inputs: JsonObject, console: Console) -> RunView:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)  # leaves through the stack's own end
    async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc) as client:
        started = await client.start(bundle, inputs)
        console.print(Text(f"\n{started.id}  {started.temporal_url}\n"), soft_wrap=True)
        return await follow(client, started.id, console)


def _print_end(run: RunView, console: Console, data_dir: Path) -> None:
    console.print()
    if run.message:
        console.print(Text(run.message, style="red"))
    print_results(console, run)
    again = "make demo" if data_dir == Path(".meta") else f"meta demo --data-dir {data_dir}"
    there = "" if data_dir == Path(".meta") else f" --data-dir {data_dir}"
    program = sys.argv[0] if shutil.which("meta") is None else "meta"  # `make demo` does not put it on PATH
    cached = sum(step.cached_nodes for step in run.steps)
    served = f"{cached} KFP tasks came from KFP's cache" if cached else f"{again} once more is served from KFP's cache"
    console.print(
        Text(f"\n{served}; {program} up{there} starts the stack again, with this run in its Temporal Web UI."),
        soft_wrap=True,
    )


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(demo)
