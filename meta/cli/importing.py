"""The command `meta import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from meta.cli.common import EXIT_FAILED, Output, OutputOption, print_json, stdout
from meta.importing import Imported, Options, Weight, import_file, write
from workflows.errors import InputsInvalid

_TITLES = {
    Weight.FILL_IN: ("to fill in", "bold red"),
    Weight.LEFT_OUT: ("not carried over", "bold yellow"),
    Weight.DIFFERS: ("carried over, with a difference", "bold"),
}


def import_(  # noqa: PLR0917 -- typer makes options of them
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Sensor, or a WorkflowTemplate that starts KFP runs.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", metavar="DIR", help="Default: a folder of the definition's name.")
    ] = None,
    event_source: Annotated[
        list[Path] | None, typer.Option("--event-source", metavar="FILE", help="Has the sensor's EventSources.")
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option("--subject", metavar="[DEPENDENCY=]SUBJECT", help="NATS subject, where no EventSource says it."),
    ] = None,
    stream: Annotated[str, typer.Option("--stream", help="JetStream stream that has the subjects.")] = "",
    pipeline: Annotated[
        list[str] | None, typer.Option("--pipeline", metavar="ID=NAME", help="Name of a KFP pipeline or version.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Fixes a parameter of a WorkflowTemplate."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when something is not carried over.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Turn an Argo Events Sensor (NATS), or a WorkflowTemplate that starts KFP runs, into a definition with a trigger.

    Says what it wrote, what it could not carry over, and how delivery differs. Needs no service.

    Example: meta import sensor.yaml --event-source source.yaml --output-dir chain

    Exit code: 0; 1 when the definition is not valid before something is filled in, or with --strict when something is
    not carried over; 2 when nothing can be imported.
    """
    options = Options(
        event_sources=tuple(event_source or ()),
        subjects=_subjects(subject or []),
        stream=stream,
        pipelines=_pairs(pipeline or [], "--pipeline"),
        parameters=_pairs(parameter or [], "--parameter"),
    )
    imported = import_file(file, options)
    written = write(imported, output_dir, force=force)
    incomplete = bool(imported.problems or imported.report.of(Weight.FILL_IN))
    if output is Output.JSON:
        print_json(
            {
                "written": [str(path) for path in written],
                "valid": not imported.problems,
                "problems": [str(problem) for problem in imported.problems],
                **{
                    str(weight): [
                        {"place": one.place, "what": one.what, "do": one.do} for one in imported.report.of(weight)
                    ]
                    for weight in Weight
                },
                "guarantees": list(imported.report.guarantees),
            }
        )
    else:
        _show(stdout(), imported, written)
    if incomplete or (strict and imported.report.of(Weight.LEFT_OUT)):
        raise typer.Exit(EXIT_FAILED)


def _show(console: Console, imported: Imported, written: list[Path]) -> None:
    for path in written:
        console.print(Text(f"wrote {path}"), soft_wrap=True)
    for weight, (title, style) in _TITLES.items():
        remarks = imported.report.of(weight)
        if remarks:
            console.print(Text(title, style=style))
        for remark in remarks:
            console.print(Text(f"  {remark.place}: {remark.what}"), soft_wrap=True)
            if remark.do:
                console.print(Text(f"    {remark.do}", style="dim"), soft_wrap=True)
    if imported.report.guarantees:
        console.print(Text("how delivery differs", style="bold"))
    for paragraph in imported.report.guarantees:
        console.print(Text(f"  - {paragraph}"), soft_wrap=True)
    if imported.problems:
        console.print(Text("not valid yet", style="bold red"))
        for problem in imported.problems:
            console.print(Text(f"  {problem}"), soft_wrap=True)
        return
    names = [str(path) for path in written if path.name == "workflow.yaml"]
    console.print(Text(f"valid; next: {'; '.join(f'meta publish {name}' for name in names)}"), soft_wrap=True)


def _subjects(words: list[str]) -> dict[str, str]:
    """`SUBJECT`, or `DEPENDENCY=SUBJECT`: no subject that people use has an equals sign."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, subject = word.partition("=")
        found[name if equals else ""] = subject if equals else name
    return found


def _pairs(words: list[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputsInvalid(f"{option} {word!r} is not NAME=VALUE", hint=f"as in {option} a=b")
        found[name] = value
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="import")(import_)
