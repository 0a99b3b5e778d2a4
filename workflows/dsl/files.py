"""Definitions in Python files, read by running the file in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from workflows.compiling import refusal, run_apart
from workflows.dsl.places import locator
from workflows.errors import BundleInvalid
from workflows.python_files import PythonPipeline
from workflows.spec.loading import Parsed, parse_value
from workflows.spec.locate import Path as Place
from workflows.values import JsonValue


def read_flow(python: PythonPipeline) -> Parsed:
    """Run a file and take the definition that it builds, as far as its shape.

    Args:
        python: which file, and the name of which definition in it; empty for the only one.

    Raises:
        BundleInvalid: there is no such file; it fails, with the line; it has no such definition; or it takes longer
            than two minutes.
    """
    source = Path(python.file).resolve()
    if not source.is_file():
        raise BundleInvalid(f"there is no file {python.file}", hint="name a Python file with a MetaWorkflow in it")
    program = ["-P", "-m", "workflows.dsl.compile_main"]
    result = run_apart(program, source, python.function, source.name)
    if "error" in result:
        raise refusal(result, source, source.name)
    made = Path(str(result["file"])).resolve()
    lines = cast("list[tuple[list[str | int], int]]", result["lines"])
    places: dict[Place, int] = {tuple(place): line for place, line in lines}
    shown = python.file if made == source else str(made)
    return parse_value(cast("JsonValue", result["data"]), locator(made, places, shown))
