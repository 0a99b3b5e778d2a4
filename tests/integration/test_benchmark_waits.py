"""The benchmark of waits runs, and says what it is asked for."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("engine", ["argo", pytest.param("kfp", marks=pytest.mark.prove)])
async def test_a_few_waits_are_measured(engine: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.waits", "--runs", "20", "--engine", engine, "--hold", "1", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found = json.loads(out)
    assert {"rss_mb", "requests_per_s", "detect_p50_s", "detect_p99_s"} <= set(found)
    assert 20 < found["rss_mb"] < 1000
    assert 0 < found["detect_p50_s"] <= found["detect_p99_s"] < 30
    assert found["requests_per_s"] < 5
