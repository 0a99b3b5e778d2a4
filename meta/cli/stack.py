"""Commands of the embedded stack: up, down, status, doctor."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from meta.cli.common import EXIT_FAILED, EXIT_INTERRUPTED, Globals, Output, OutputOption, print_json, stderr, stdout
from meta.stack.addresses import Addresses
from meta.stack.doctor import examine, healthy
from meta.stack.events import EventKind, StackEvent
from meta.stack.launcher import Reporter, run_detached, run_foreground
from meta.stack.launcher import stop as stop_stack
from meta.stack.names import PartName, PortName
from meta.stack.options import StackOptions
from meta.stack.state import DataFolder, PartState, StackPhase, StackState
from workflows.errors import MetaError

DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="DIR", envvar="META_DATA_DIR", help="Where the stack keeps everything.")
]
Environments = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="META_ENVIRONMENTS", help="Steps' Python environments, shared by stacks."),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, metavar="PORT", show_default=False)]
_COLOURS = {"ok": "green", "ready": "green", "done": "green", "warn": "yellow", "fail": "red", "restarting": "red"}
_LABELS = {
    "temporal": "Temporal", "temporal_ui": "Temporal Web UI", "nats": "NATS", "s3": "S3", "grpc": "service (gRPC)",
    "argo": "sandbox Argo", "kfp": "sandbox KFP", "kfp_metadata": "sandbox KFP metadata", "data_dir": "data",
    "config": "configuration", "service_metrics": "service (metrics)", "worker_metrics": "worker (metrics)",
}  # fmt: skip


def up(
    *,
    data_dir: DataDir = Path(".meta"),
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready; `meta down` stops it.")] = (
        False
    ),
    images: Annotated[
        list[Path] | None, typer.Option("--images", metavar="FILE", help="An images table of yours; may be repeated.")
    ] = None,
    environments: Environments = None,
    parts: Annotated[
        list[PartName] | None, typer.Option("--part", help="Only this part and what it needs; may be repeated.")
    ] = None,
    port_temporal: Port = None,
    port_temporal_ui: Port = None,
    port_nats: Port = None,
    port_nats_monitor: Port = None,
    port_s3: Port = None,
    port_argo: Port = None,
    port_kfp: Port = None,
    port_kfp_metadata: Port = None,
    port_grpc: Port = None,
    output: OutputOption = Output.TEXT,
    report_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the embedded stack: Temporal, NATS, S3, sandbox Argo and KFP, the worker, the service.

    Stays in the foreground until Ctrl-C, then stops everything. Ports are those of last time, else the usual ones, else
    free ones; one given by option must be free.

    Example: meta up --detach --output json
    """
    ports = {
        PortName.TEMPORAL: port_temporal, PortName.TEMPORAL_UI: port_temporal_ui, PortName.NATS: port_nats,
        PortName.NATS_MONITOR: port_nats_monitor, PortName.S3: port_s3, PortName.ARGO: port_argo,
        PortName.KFP: port_kfp, PortName.KFP_METADATA: port_kfp_metadata, PortName.GRPC: port_grpc,
    }  # fmt: skip
    given = {name: port for name, port in ports.items() if port is not None}
    reporter = Reporter(report_fd) if report_fd is not None else None
    options = StackOptions(
        data_dir=data_dir,
        parts=parts or None,
        images=images or (),
        environments=environments,
        ports=given,
        well_known_ports=True,
        listener=reporter.event if reporter else say,
    )
    if detach:
        addresses = run_detached(_arguments(options), DataFolder(data_dir), say)
        _print_addresses(addresses, output)
        stderr().print(Text(f"running in the background; `meta down --data-dir {data_dir}` stops it"), soft_wrap=True)
        return
    if reporter:
        _run_reporting(options, reporter)
        return

    def ready(addresses: Addresses) -> None:
        _print_addresses(addresses, output)
        stderr().print(Text("ready; Ctrl-C stops everything"))

    if not asyncio.run(run_foreground(options, ready)):
        raise typer.Exit(EXIT_INTERRUPTED)


def down(data_dir: DataDir = Path(".meta"), output: OutputOption = Output.TEXT) -> None:
    """Stop the embedded stack and wait until nothing of it runs.

    Example: meta down
    """
    stopped = stop_stack(DataFolder(data_dir))
    if output is Output.JSON:
        print_json({"stopped": stopped})
    else:
        stdout().print(Text("stopped" if stopped else f"no stack is running in {data_dir}"))


def status(data_dir: DataDir = Path(".meta"), output: OutputOption = Output.TEXT) -> None:
    """Show each part of the embedded stack: state, process, restarts, address.

    Example: meta status --output json

    Exit code: 0 when all parts are ready, else 1.
    """
    folder = DataFolder(data_dir)
    state = folder.load()
    running = folder.is_locked()
    phase = state.phase if running else StackPhase.STOPPED
    if output is Output.JSON:
        parts = {
            name: {"state": str(record.state if running else PartState.STOPPED),
                   "pid": record.pid if running else 0,
                   "restarts": record.restarts, "address": record.address}
            for name, record in state.parts.items()
        }  # fmt: skip
        supervisor = state.supervisor.pid if running and state.supervisor else 0
        print_json({
            "phase": str(phase), "pid": supervisor, "data_dir": str(folder.folder), "addresses": dict(state.addresses),
            "parts": {str(name): dict(part) for name, part in parts.items()},
        })  # fmt: skip
    elif not running:
        stdout().print(Text(f"no stack is running in {data_dir}; start one: meta up"))
    else:
        stdout().print(_parts_table(state))
    good = (PartState.READY, PartState.DONE)
    if phase is not StackPhase.READY or any(record.state not in good for record in state.parts.values()):
        raise typer.Exit(EXIT_FAILED)


def doctor(
    context: typer.Context,
    data_dir: DataDir = Path(".meta"),
    bucket: Annotated[str, typer.Option(help="Bucket to put and get an object in, on an installation of yours.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Look at everything that a run needs, and say what to do about what is missing.

    Works on the configuration in force: the embedded stack's, or that of an installation of yours.

    Example: meta --config meta.toml doctor

    Exit code: 0, or 1 when something failed.
    """
    chosen = context.find_object(Globals)
    findings = asyncio.run(examine(chosen.config if chosen else None, data_dir, bucket))
    if output is Output.JSON:
        checks = [{key: str(value) for key, value in asdict(finding).items()} for finding in findings]
        print_json({"healthy": healthy(findings), "checks": [dict(check) for check in checks]})
    else:
        for finding in findings:
            mark = Text(f"{finding.verdict:<5}", style=_COLOURS.get(finding.verdict, ""))
            stdout().print(Text.assemble(mark, f"{finding.name}: {finding.detail}"), soft_wrap=True)
            if finding.hint:
                stdout().print(Text(f"     {finding.hint}", style="yellow"), soft_wrap=True)
    if not healthy(findings):
        raise typer.Exit(EXIT_FAILED)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (up, down, status, doctor):
        app.command()(command)


def _run_reporting(options: StackOptions, reporter: Reporter) -> None:
    try:
        ready = asyncio.run(run_foreground(options, reporter.ready))
    except MetaError as error:
        reporter.error(error)
        raise typer.Exit(EXIT_FAILED) from error
    if not ready:
        raise typer.Exit(EXIT_INTERRUPTED)


def _arguments(options: StackOptions) -> list[str]:
    words = ["--data-dir", str(options.folder)]
    for file in options.images:
        words += ["--images", str(file.absolute())]
    if options.environments:
        words += ["--environments", str(options.environments.absolute())]
    for part in options.parts or ():
        words += ["--part", str(part)]
    for name, port in options.ports.items():
        words += [f"--port-{name.replace('_', '-')}", str(port)]
    return words


def _print_addresses(addresses: Addresses, output: Output) -> None:
    found = addresses.as_dict()
    if output is Output.JSON:
        print_json(dict(found))
        return
    table = Table("part", "address", box=None, header_style="bold")
    for name, address in found.items():
        if address:
            table.add_row(_LABELS[name], Text(address, overflow="fold"))
    stdout().print(table)


def _parts_table(state: StackState) -> Table:
    table = Table("part", "state", "pid", "restarts", "address", box=None, header_style="bold")
    for name, record in state.parts.items():
        coloured = Text(record.state, style=_COLOURS.get(record.state, ""))
        table.add_row(name, coloured, str(record.pid or ""), str(record.restarts), Text(record.address))
    return table


def say(event: StackEvent) -> None:
    if event.kind is EventKind.STOPPED:
        return
    words = f": {event.text}" if event.kind in (EventKind.PROGRESS, EventKind.MOVED) else f" {event.kind} {event.text}"
    if event.kind is EventKind.DIED:
        words = f" {event.text}"
    stderr().print(Text(f"{event.part}{words.rstrip()}", style="red" if event.kind is EventKind.DIED else "dim"))
