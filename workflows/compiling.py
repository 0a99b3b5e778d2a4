"""KFP pipelines that a definition names as Python: compiled when the bundle is built, by whoever builds it.

The bundle holds the compiled pipeline, never the Python: the service and the workers run no code of a user's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from workflows import compile_main
from workflows.errors import BundleInvalid

TIMEOUT_S = 120.0
_NAME = re.compile(r"(?P<file>.+\.py)(?::(?P<function>[A-Za-z_]\w*))?")
_TAIL = 1000


@dataclass(frozen=True, slots=True)
class PythonPipeline:
    """A pipeline in a Python file.

    Attributes:
        file: as the definition names it.
        function: empty for the only one.
    """

    file: str
    function: str


def python_pipeline(package: str) -> PythonPipeline | None:
    """Read a step's `package`: `pipelines.py` or `pipelines.py:train`; None for a file that is compiled already."""
    found = _NAME.fullmatch(package)
    return PythonPipeline(found["file"], found["function"] or "") if found else None


def compile_pipeline(folder: Path, pipeline: PythonPipeline) -> str:
    """Compile a pipeline in a process of its own; the same file gives the same text.

    Args:
        folder: of the definition; it is what imports in the file see.
        pipeline: which.

    Raises:
        BundleInvalid: the file fails, with the line; it has no such pipeline; or it takes longer than two minutes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "result.json"
        source = (folder / pipeline.file).resolve()
        # -P: the folder of our own program is not on the path, so its modules are not in the way of a user's.
        command = [sys.executable, "-P", compile_main.__file__, str(source), pipeline.function, str(target)]
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
                f"{pipeline.file} is still not compiled after {TIMEOUT_S:.0f} s",
                hint="importing it should define pipelines and do nothing else",
            ) from None
        if not target.exists():
            said = done.stdout.decode(errors="replace").strip()[-_TAIL:]
            raise BundleInvalid(
                f"{pipeline.file}: the process that compiles it ended with {done.returncode}: {said or 'no message'}",
                hint="run it by itself: python " + pipeline.file,
            )
        result = cast("dict[str, str | int]", json.loads(target.read_text(encoding="utf-8")))
    if "package" in result:
        return str(result["package"])
    raise BundleInvalid(_message(pipeline, source, result), hint=str(result.get("hint", "")))


def _message(pipeline: PythonPipeline, source: Path, result: dict[str, str | int]) -> str:
    """`pipelines.py:12: NameError: ...`, by the name of the file in which it happened."""
    error, line = str(result["error"]), result.get("line", 0)
    if not result.get("file"):
        return error if "hint" in result else f"{pipeline.file}: {error}"
    place = Path(str(result["file"]))
    root = source.parents[len(Path(pipeline.file).parts) - 1]
    shown = place.relative_to(root) if place.is_relative_to(root) else place
    return f"{shown}:{line}: {error}"
