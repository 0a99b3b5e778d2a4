"""The page about the embedded stack: its program runs, and what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "embedded-stack.md").read_text()


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    result = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("restarts: 1\n")


def test_every_option_of_the_page_exists() -> None:
    words = [sys.executable, "-m", "meta.stack", "up", "--help"]
    wide = {"COLUMNS": "300", "PATH": "/usr/bin"}
    page = subprocess.run(words, capture_output=True, text=True, check=True, env=wide).stdout
    options = set(re.findall(r"`(?:meta up )?(--[a-z-]+)", PAGE))
    assert len(options) > 10
    assert {option for option in options if option not in page} == set()
