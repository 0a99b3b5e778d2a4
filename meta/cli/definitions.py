"""Commands on definitions and engines: publish, workflows, validate, catalog, schema, engines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from meta.cli.common import (
    EXIT_FAILED,
    EXIT_INPUT,
    Output,
    OutputOption,
    client_of,
    print_json,
    run_async,
    stderr,
    stdout,
)
from meta.cli.render import engines_table, use_cases_table, workflows_table
from meta.cli.shipped import catalog as shipped
from meta.cli.shipped import shipped_file
from meta.cli.triggers import tell_triggers
from meta.client import EngineInfo, PublishedInfo
from workflows.bundle import build_bundle
from workflows.errors import DefinitionInvalid
from workflows.values import JsonValue

FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A definition (YAML, or Python), or the name of a chain of the catalogue."),
]


def publish(context: typer.Context, file: FileArgument, output: OutputOption = Output.TEXT) -> None:
    """Publish a definition with the manifests it names, as the newest version of its name. Its triggers take effect.

    Example: meta publish chain.yaml
    """

    async def body() -> None:
        async with client_of(context) as client:
            published = await client.publish(shipped_file(str(file)) or file)
            if output is Output.JSON:
                print_json(_told(published))
                return
            line = f"{published.name} version {published.version} ({published.bundle_digest})"
            stdout().print(Text(line), soft_wrap=True)
            await tell_triggers(client, published)

    run_async(body())


def workflows(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """List published workflows.

    Example: meta workflows --output json
    """

    async def body() -> list[PublishedInfo]:
        async with client_of(context) as client:
            return await client.workflows()

    published = run_async(body())
    if output is Output.JSON:
        print_json([_told(one) for one in published])
    else:
        stdout().print(workflows_table(published) if published else Text("nothing is published; see `meta publish`"))


def _told(published: PublishedInfo) -> JsonValue:
    """For programs: without the definition, but for the subjects and times that start it."""
    triggers = published.definition.triggers
    subjects: list[JsonValue] = [one.nats.subject for one in triggers if one.nats is not None]
    times: list[JsonValue] = [one.schedule.times for one in triggers if one.schedule is not None]
    return {**published.model_dump(mode="json", exclude={"definition"}), "triggers": subjects, "schedules": times}


def validate(file: FileArgument, output: OutputOption = Output.TEXT) -> None:
    """Check a definition and the manifests it names; every problem at once, with its place. Needs no service.

    Example: meta validate chain.yaml

    Exit code: 0, or 2 when there are problems.
    """
    problems: list[JsonValue] = []
    try:
        bundle = build_bundle(shipped_file(str(file)) or file)
    except DefinitionInvalid as error:
        if output is Output.TEXT:
            raise
        problems = [cast(JsonValue, asdict(problem)) for problem in error.problems]
    else:
        if output is Output.TEXT:
            steps = len(bundle.definition.steps)
            stdout().print(Text(f"{file} is valid: {bundle.definition.name}, {steps} steps"), soft_wrap=True)
    if output is Output.JSON:
        print_json({"valid": not problems, "problems": problems})
    if problems:
        raise typer.Exit(EXIT_INPUT)


def catalog(output: OutputOption = Output.TEXT) -> None:
    """List the chains that come with the package; `meta run NAME` runs one. Needs no service.

    Example: meta catalog
    """
    found = shipped()
    if output is Output.JSON:
        print_json([{"name": one.name, "description": one.description, "file": str(one.file)} for one in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("description", overflow="fold")
    for one in found:
        table.add_row(one.name, Text(one.description))
    stdout().print(table)


def schema(output: OutputOption = Output.JSON) -> None:
    """Print the JSON Schema of definitions, for editors. Needs no service.

    Example: meta schema > meta-workflow.schema.json
    """
    from workflows.spec.schema import json_schema

    if output is Output.JSON:
        print_json(cast(JsonValue, json_schema()))
    else:
        stdout().print_json(data=json_schema(), highlight=False)


def engines(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """Show the configured engines, whether they answer, and which use cases go to them.

    A step with `useCase: NAME` runs on the engine that NAME goes to; the table is [use_cases] in meta.toml.

    Example: meta engines

    Exit code: 0, or 1 when one of them is down.
    """

    async def body() -> list[EngineInfo]:
        async with client_of(context) as client:
            return await client.engines()

    found = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        stdout().print(engines_table(found) if found else Text("no engines are configured"))
        if (routed := use_cases_table(found)) is not None:
            stdout().print()
            stdout().print(routed)
    down = [one.name for one in found if not one.ok]
    if down:
        stderr().print(Text(f"down: {', '.join(down)}", style="red"))
        raise typer.Exit(EXIT_FAILED)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (publish, workflows, validate, catalog, schema, engines):
        app.command()(command)
