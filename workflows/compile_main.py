"""Compiles one pipeline of a Python file: a program of its own, so that a user's code never runs in ours.

    python -P compile_main.py FILE FUNCTION RESULT

FUNCTION may be empty when the file has one pipeline. RESULT becomes JSON: `{"package": text}`, or `{"error": message,
"hint": ..., "line": n, "file": path}`. It imports nothing of this project, whose modules a user's may be named like.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any


class Refused(Exception):
    """What the file lacks; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def main(file: Path, function: str) -> dict[str, object]:
    """Run the file, pick the pipeline, compile it."""
    try:
        return {"package": _compiled(_pick(load(file), file.name, function))}
    except Refused as error:
        return {"error": str(error), "hint": error.hint}
    except SyntaxError as error:
        return {"error": f"SyntaxError: {error.msg}", "file": error.filename or "", "line": error.lineno or 0}
    except BaseException as error:  # a user's code may also leave by SystemExit
        place, line = place_of(error.__traceback__, file.parent)
        return {"error": words_of(error), "file": place, "line": line}


def load(file: Path) -> ModuleType:
    """Run a user's file as a module of its own name."""
    sys.path.insert(0, str(file.parent))  # what stands beside it can be imported, as if it were run
    sys.argv = [str(file)]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _pick(module: ModuleType, file: str, function: str) -> Any:
    from kfp.dsl.graph_component import GraphComponent

    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, GraphComponent) and value.pipeline_func.__module__ == module.__name__
    }
    names = ", ".join(own)
    if function:
        if function not in own:
            near = difflib.get_close_matches(function, own, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has: {names or 'none'}"
            raise Refused(f"{file} has no @dsl.pipeline '{function}'", hint)
        return own[function]
    if not own:
        raise Refused(f"{file} has no @dsl.pipeline", "decorate the function that is the pipeline with @dsl.pipeline")
    if len(own) > 1:
        raise Refused(f"{file} has {len(own)} pipelines", f"name one, as {file}:{next(iter(own))}; it has: {names}")
    return next(iter(own.values()))


def _compiled(pipeline: Any) -> str:
    from kfp.compiler import Compiler

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        Compiler().compile(pipeline, str(target))
        return target.read_text(encoding="utf-8")


def place_of(trace: TracebackType | None, folder: Path) -> tuple[str, int]:
    """The innermost line of the user's own files."""
    found = ("", 0)
    for frame in traceback.extract_tb(trace):
        if Path(frame.filename).is_relative_to(folder):
            found = (frame.filename, frame.lineno or 0)
    return found


def words_of(error: BaseException) -> str:
    """`NameError: name 'x' is not defined`."""
    return "".join(traceback.format_exception_only(error)).strip()


if __name__ == "__main__":
    source, wanted, target = sys.argv[1:]
    result = main(Path(source), wanted)
    Path(target).write_text(json.dumps(result), encoding="utf-8")
