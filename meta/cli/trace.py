"""The command `meta trace`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from meta.cli.common import client_of, run_async, stdout
from meta.client import RunView, TraceView
from workflows.errors import InvalidInput

if TYPE_CHECKING:
    from meta.trace.picture import Picture


class Form(StrEnum):
    """How a trace is written."""

    TEXT = "text"
    SVG = "svg"
    HTML = "html"
    JSON = "json"


FILE_WIDTH = 100  # columns of a waterfall in a file


def trace(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    step: Annotated[str, typer.Option("--step", "-s", help="Only this step, over its own time.")] = "",
    top: Annotated[
        int, typer.Option("--top", "-n", min=1, metavar="N", help="Of many equal nodes show N; more where they failed.")
    ] = 5,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Fold nothing; show submits, waits and engine runs too.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="F", help="Write there, all or nothing.")] = None,
    output: Annotated[
        Form | None,
        typer.Option(
            "--output",
            "-o",
            help="text: a waterfall; svg, html: a picture, a page; json: OTLP, to import. Left out: as the file's "
            "name ends, else text.",
        ),
    ] = None,
) -> None:
    """Show where the time of a run went: its steps, attempts and every node of its engine runs, with the critical path.

    Example: meta trace hybrid-training-1f0c2a9b3d --output svg --file trace.svg
    """

    async def body() -> tuple[RunView, TraceView]:
        async with client_of(context) as client:
            return await asyncio.gather(client.get(run_id), client.trace(run_id))

    run, found = run_async(body())
    options = _Options(step, everything, top)
    output = output or _by_name(file)
    if output is Form.TEXT and file is None:
        _print_text(stdout(), run, found, options)
        return
    text = _text(run, found, options, output)
    if file is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    _write(file, text)
    stdout().print(Text(f"wrote {file} ({len(text.encode()):,} bytes)"), soft_wrap=True)


def _by_name(file: Path | None) -> Form:
    suffix = file.suffix.lstrip(".").lower() if file is not None else ""
    return Form(suffix) if suffix in [form.value for form in Form] else Form.TEXT


class _Options:
    def __init__(self, step: str, everything: bool, top: int) -> None:
        self.step = step
        self.everything = everything
        self.top = top
        self.now = datetime.now(UTC)


def _print_text(console: Console, run: RunView, found: TraceView, options: _Options) -> None:
    from meta.cli.waterfall import print_waterfall

    print_waterfall(console, _picture(run, found, options), run_id=run.id, trace_id=found.trace_id, url=found.url)


def _picture(run: RunView, found: TraceView, options: _Options) -> Picture:
    from meta.trace.choosing import make_picture

    return make_picture(
        found.spans, options.now, snapshots=run.steps, step=options.step, everything=options.everything, top=options.top
    )


def _text(run: RunView, found: TraceView, options: _Options, output: Form) -> str:
    """What goes to a file or a program. Each form's modules are imported only where they are needed."""
    if output is Form.TEXT:
        screen = StringIO()
        _print_text(Console(file=screen, width=FILE_WIDTH, highlight=False), run, found, options)
        return screen.getvalue()
    from meta.trace.choosing import spans_of_step

    picture = _picture(run, found, options)
    spans = spans_of_step(found.spans, options.step) if options.step else found.spans
    if output is Form.JSON:
        from meta.trace.otlp_json import to_otlp_json

        return to_otlp_json(spans, found.resource, options.now)
    title = f"{run.id}, {options.step}" if options.step else run.id
    if output is Form.SVG:
        from meta.trace.svg import draw

        return draw(picture, title)
    from meta.trace.html import page

    return page(picture, spans, options.now, run_id=title, url=found.url, everything=options.everything)


def _write(file: Path, text: str) -> None:
    """All or nothing: whoever reads the file meanwhile sees the one before.

    Raises:
        InvalidInput: it cannot be written there.
    """
    from meta.stack.files import write_atomic

    try:
        write_atomic(file, text)
    except OSError as error:
        problem = f"{file} cannot be written: {error.strerror or error}"
        raise InvalidInput(problem, hint="name a file in a folder that is there") from error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(trace)
