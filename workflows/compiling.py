"""KFP pipelines that a definition names as Python: compiled when the bundle is built, by whoever builds it.

The bundle holds the compiled pipeline, never the Python: the service and the workers run no code of a user's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from workflows import compile_main
from workflows.errors import BundleInvalid
from workflows.python_files import PythonPipeline

TIMEOUT_S = 120.0
_TAIL = 1000


def compile_pipeline(folder: Path, pipeline: PythonPipeline) -> str:
    """Compile a pipeline in a process of its own; the same file gives the same text.

    Args:
        folder: of the definition; it is what imports in the file see.
        pipeline: which.

    Raises:
        BundleInvalid: the file fails, with the line; it has no such pipeline; or it takes longer than two minutes.
    """
    source = (folder / pipeline.file).resolve()
    # -P: the folder of our own program is not on the path, so its modules are not in the way of a user's.
    result = run_apart(["-P", compile_main.__file__], source, pipeline.function, pipeline.file)
    if "package" in result:
        return str(result["package"])
    raise refusal(result, source, pipeline.file)


def run_apart(program: list[str], source: Path, name: str, shown: str) -> dict[str, Any]:
    """Run a program of ours that runs a user's file, in a process of its own.

    Args:
        program: arguments of Python before FILE NAME RESULT, as `workflows.compile_main` takes them.
        source: the user's file.
        name: of what is looked for in it; empty for the only one.
        shown: the file's name in messages.

    Raises:
        BundleInvalid: it ends without a result, or takes longer than two minutes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "result.json"
        command = [sys.executable, *program, str(source), name, str(target)]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=source.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BundleInvalid(
                f"{shown} is still not compiled after {TIMEOUT_S:.0f} s",
                hint="importing it should define what it has and do nothing else",
            ) from None
        if not target.exists():
            said = done.stdout.decode(errors="replace").strip()[-_TAIL:]
            raise BundleInvalid(
                f"{shown}: the process that compiles it ended with {done.returncode}: {said or 'no message'}",
                hint="run it by itself: python " + shown,
            )
        return cast("dict[str, Any]", json.loads(target.read_text(encoding="utf-8")))


def refusal(result: dict[str, Any], source: Path, shown: str) -> BundleInvalid:
    """The error that a program's result tells: `pipelines.py:12: NameError: ...`, by the file in which it happened."""
    return BundleInvalid(_message(result, source, shown), hint=str(result.get("hint", "")))


def _message(result: dict[str, Any], source: Path, shown_file: str) -> str:
    error, line = str(result["error"]), result.get("line", 0)
    if not result.get("file"):
        return error if "hint" in result else f"{shown_file}: {error}"
    place = Path(str(result["file"]))
    root = source.parents[len(Path(shown_file).parts) - 1]
    shown = place.relative_to(root) if place.is_relative_to(root) else place
    return f"{shown}:{line}: {error}"
