"""What is named in a Python file: `pipelines.py`, or `pipelines.py:train` for one of several."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(?P<file>.+\.py)(?::(?P<function>[A-Za-z_]\w*))?")


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
