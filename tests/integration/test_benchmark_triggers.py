"""The benchmark of triggers runs, and says what it is asked for."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path


async def test_a_few_messages_are_measured() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.triggers", "--messages", "10", "--burst", "20", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found = json.loads(out)
    assert 0 < found["start_p50_s"] <= found["start_p99_s"] < 30
    assert found["start_p50_s"] < found["acked_p50_s"]
    assert 0 < found["plain_p50_s"] < found["plain_acked_p50_s"] < 30
    assert found["ratio_p50"] == found["start_p50_s"] / found["plain_p50_s"]
    assert found["starts_per_s"] > 1
    assert found["plain_starts_per_s"] > 1
