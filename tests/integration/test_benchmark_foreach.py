"""A fan-out of thousands finishes, far from Temporal's limits."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from workflows.fanout import INLINE_ITEMS

LONG = [pytest.mark.prove, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("items", [20, pytest.param(210, marks=pytest.mark.prove), pytest.param(10_000, marks=LONG)])
async def test_a_fan_out_finishes_far_from_temporals_limits(items: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.foreach", "--items", str(items), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found = json.loads(out)
    assert found["items"] == items
    assert found["items_per_s"] > 1
    inline = items if items <= INLINE_ITEMS else 0
    assert found["chunks"] == (0 if inline else -(-items // INLINE_ITEMS))
    assert found["parent_history_events"] < 40 + 15 * found["chunks"] + 20 * inline
    assert found["parent_history_bytes"] < 20_000 + 60 * items + 6_000 * inline
    assert found["chunk_history_events_max"] < 5_000
    assert found["chunk_history_bytes_max"] < 2_000_000
    assert found["peak_worker_mb"] < 500
