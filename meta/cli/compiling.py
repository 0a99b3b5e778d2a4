"""`meta compile`: a definition that Python builds, as YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import EXIT_FAILED, stderr, stdout
from workflows.bundle import build_bundle
from workflows.errors import HostError
from workflows.spec.writing import write_definition


def compile_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file with a MetaWorkflow; FILE.py:name.")],
    to: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it. Default: the terminal.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say whether the file is up to date.")] = False,
) -> None:
    """Write the definition that a Python file builds as YAML. Needs no service.

    The file is run in a process of its own, and the definition is checked with the manifests that it names. `meta run`,
    `meta publish` and `meta validate` take the Python file as it is; the YAML is for reviews and for other tools.

    Example: meta compile chain.py -o chain.yaml

    Exit code: 0; 1 when --check finds the file to differ; 2 when the definition is not valid.
    """
    command = f"meta compile {_beside(file, to)}" + (f" -o {to.name}" if to is not None else "")
    head = [f"Made by `{command}`; edit the Python, not this."]
    text = write_definition(build_bundle(Path(file)).definition, head)
    if to is None:
        if check:
            raise typer.BadParameter("say which file to check, with -o FILE")
        typer.echo(text, nl=False)
        return
    if not check:
        try:
            to.write_text(text, encoding="utf-8")
        except OSError as error:
            raise HostError(f"{to} cannot be written: {error.strerror}", hint="name another place with -o") from error
        stdout().print(Text(f"{to} written"), soft_wrap=True)
        return
    if to.is_file() and to.read_text(encoding="utf-8") == text:
        stdout().print(Text(f"{to} is up to date"), soft_wrap=True)
        return
    stderr().print(Text(f"{to} is not what {file} says; write it anew: {command}", style="red"), soft_wrap=True)
    raise typer.Exit(EXIT_FAILED)


def _beside(file: str, to: Path | None) -> str:
    """The file's name from the folder of what is written, so that the text is the same wherever it is called."""
    if to is None:
        return Path(file).name
    path, colon, name = file.partition(".py:")
    source = Path(path + (".py" if colon else "")).resolve()
    return Path(os.path.relpath(source, to.resolve().parent)).as_posix() + (f":{name}" if colon else "")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="compile")(compile_file)
