"""`meta sandbox`: each sandbox engine alone, for people who test their own clients without a cluster."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, cast

import typer
from rich.text import Text
from typer.core import TyperCommand

from meta.cli.common import EXIT_INTERRUPTED, MetaGroup, Output, OutputOption, print_json, stderr, stdout
from meta.cli.stack import Environments, Port, say
from meta.sandbox.support import Entry, Level, by_area
from meta.stack import Addresses, PartName, PortName, StackOptions
from meta.stack.config_file import BUCKET
from meta.stack.credentials import Credentials
from meta.stack.launcher import run_foreground
from workflows.errors import PortTaken, SettingsInvalid

_PATH_OPTION = "--objects"
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
_MODULES = {PartName.ARGO: "meta.sandbox.argo.options", PartName.KFP: "meta.sandbox.kfp.options"}
DataDir = Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Where it keeps runs and artifacts.")]
Images = Annotated[
    list[Path] | None, typer.Option("--images", metavar="FILE", help="An images table of yours; may be repeated.")
]


def _parser(part: PartName) -> argparse.ArgumentParser:
    """The server's own options; imported late, for the other commands' sake."""
    add_options = cast("Callable[[argparse.ArgumentParser], None]", importlib.import_module(_MODULES[part]).add_options)
    parser = argparse.ArgumentParser(
        prog=f"meta sandbox {part}", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    add_options(parser)
    return parser


class _EngineCommand(TyperCommand):
    """Shows the server's own options, which are passed on to it, under the command's."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # click's own types: typer ships click privately
        text = _parser(PartName(self.name or "")).format_help()
        with formatter.section("Options of the server"):
            for line in text.splitlines()[1:]:
                formatter.write(f"  {line}\n" if line else "\n")


def argo(
    context: typer.Context,
    *,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Workflows and artifacts.")] = Path(
        ".meta/sandbox-argo"
    ),
    port: Port = None,
    port_s3: Port = None,
    images: Images = None,
    environments: Environments = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start the sandbox Argo server alone, with an S3 server for its artifacts.

    It speaks Argo's REST API and runs manifests as local processes, so `argo`, hera or a client of yours can be tried
    without a cluster. Stays in the foreground until Ctrl-C. `meta sandbox support argo` says what it can do.

    Example: meta sandbox argo --port 2746 --max-concurrent-pods 4
    """
    ports = {PortName.ARGO: port, PortName.S3: port_s3}
    options = _options(PartName.ARGO, context.args, data_dir, ports, images)
    _serve(PartName.ARGO, replace(options, environments=environments), output)


def kfp(
    context: typer.Context,
    *,
    data_dir: DataDir = Path(".meta/sandbox-kfp"),
    port: Port = None,
    port_metadata: Port = None,
    port_s3: Port = None,
    images: Images = None,
    environments: Environments = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start the sandbox Kubeflow Pipelines server alone, with ML Metadata and an S3 server for its artifacts.

    It speaks KFP's v2beta1 API and runs compiled pipelines with kfp.local, so `kfp.Client` or a client of yours can be
    tried without a cluster. Stays in the foreground until Ctrl-C. `meta sandbox support kfp` says what it can do.

    Example: meta sandbox kfp --port 8888 --max-concurrent-runs 4
    """
    ports = {PortName.KFP: port, PortName.KFP_METADATA: port_metadata, PortName.S3: port_s3}
    options = _options(PartName.KFP, context.args, data_dir, ports, images)
    _serve(PartName.KFP, replace(options, environments=environments), output)


def _options(
    part: PartName, arguments: list[str], data_dir: Path, ports: dict[PortName, int | None], images: list[Path] | None
) -> StackOptions:
    for image in images or ():
        if not image.is_file():
            raise SettingsInvalid(f"--images {image}: there is no such file", hint="check the path")
    _parser(part).parse_args(arguments)  # a slip shows now, not in the log of a server that does not start
    return StackOptions(
        data_dir=data_dir,
        parts=[part],
        images=images or (),
        arguments={part: _from_anywhere(arguments)},
        ports={name: number for name, number in ports.items() if number is not None},
        well_known_ports=True,
        listener=say,
    )


def _from_anywhere(arguments: list[str]) -> list[str]:
    """The server runs in a folder of its own: paths must not depend on where we are."""
    found: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        if before == _PATH_OPTION:
            found.append(str(Path(word).absolute()))
        elif word.startswith(f"{_PATH_OPTION}="):
            found.append(f"{_PATH_OPTION}={Path(word.partition('=')[2]).absolute()}")
        else:
            found.append(word)
    return found


def _serve(part: PartName, options: StackOptions, output: Output) -> None:
    def ready(addresses: Addresses) -> None:
        if output is Output.JSON:
            keys = Credentials.of(options.folder)
            shown = {key: value for key, value in addresses.as_dict().items() if value}
            secret = {"s3_bucket": BUCKET, "s3_access_key": keys.access_key, "s3_secret_key": keys.secret_key}
            print_json({**shown, **secret})
            return
        _print_addresses(part, addresses, options.folder)

    try:
        ended = asyncio.run(run_foreground(options, ready))
    except PortTaken as error:  # its hint is for the whole stack's options
        error.hint = error.hint.replace(f"--port-{part}", "--port")
        raise
    if not ended:
        raise typer.Exit(EXIT_INTERRUPTED)


def _print_addresses(part: PartName, addresses: Addresses, folder: Path) -> None:
    keys, console = Credentials.of(folder), stdout()
    if part is PartName.ARGO:
        console.print(Text(f"Argo           {addresses.argo}"))
    else:
        console.print(Text(f"KFP            {addresses.kfp}"))
        console.print(Text(f"ML Metadata    {addresses.kfp_metadata}"))
    console.print(Text(f"S3             {addresses.s3} (bucket {BUCKET})"))
    console.print(Text(f"keys           {keys.access_key} {keys.secret_key}"), soft_wrap=True)
    tries = {
        PartName.ARGO: f"curl -s {addresses.argo}/api/v1/workflows/argo",
        PartName.KFP: f"python -c 'import kfp; print(kfp.Client(host=\"{addresses.kfp}\").list_runs())'",
    }
    console.print(Text(f"try            {tries[part]}"), soft_wrap=True)
    stderr().print(Text("ready; Ctrl-C stops everything"))


class Engine(StrEnum):
    ARGO = "argo"
    KFP = "kfp"


def support(
    engine: Annotated[Engine | None, typer.Argument(help="Only this engine.")] = None,
    *,
    level: Annotated[Level | None, typer.Option("--level", help="Only what is supported, approximated or refused.")] = (
        None
    ),
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what the sandbox engines support, what they approximate, and what they refuse by name.

    Found in the sandboxes' own tables and routes, and compared with the engines' official clients and models.

    Example: meta sandbox support argo --level refused
    """
    engines = [engine] if engine else list(Engine)
    found = {one: [entry for entry in _support(one) if level in (None, entry.level)] for one in engines}
    if output is Output.JSON:
        print_json({str(one): [{**asdict(entry)} for entry in entries] for one, entries in found.items()})
        return
    for one, entries in found.items():
        _print_support(one, entries)


def _support(engine: Engine) -> list[Entry]:
    module = importlib.import_module(f"meta.sandbox.{engine}.support")
    return cast("Callable[[], list[Entry]]", module.support)()


def _print_support(engine: Engine, entries: list[Entry]) -> None:
    console = stdout()
    for area, levels in by_area(entries).items():
        console.print(Text(f"{engine}: {area}", style="bold"))
        for level, members in levels.items():
            for note in dict.fromkeys(member.note for member in members):
                names = [member.name for member in members if member.note == note]
                console.print(Text(f"  {level}, {note}" if note else f"  {level}", style=_COLOURS[level]))
                lines = names if area == "API" else wrap(", ".join(names), max(40, console.width - 4))
                for line in lines:
                    console.print(Text(f"    {line}"), soft_wrap=True)


_COLOURS = {Level.SUPPORTED: "green", Level.APPROXIMATED: "yellow", Level.REFUSED: "red"}


def register(app: typer.Typer) -> None:
    """Add the group to an application."""
    group = typer.Typer(cls=MetaGroup, no_args_is_help=True, help="The sandbox engines, each alone.")
    group.command(cls=_EngineCommand, context_settings=_PASSED_ON)(argo)
    group.command(cls=_EngineCommand, context_settings=_PASSED_ON)(kfp)
    group.command()(support)
    app.add_typer(group, name="sandbox")
