"""`meta demo`, as `make demo` runs it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from tests.support.processes import processes_with


def demo(folder: Path, environments: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "meta", "demo", "--data-dir", str(folder), "--environments", str(environments)]
    command += ["--output", "json", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 1, "one JSON object is all that standard output gets"
    return cast(dict[str, Any], json.loads(lines[0]))


def test_the_demo_deploys_a_good_model_and_a_second_one_is_served_from_the_cache(
    tmp_path: Path, environments: Path
) -> None:
    folder = tmp_path / "stack"
    first = demo(folder, environments)
    steps = {step["name"]: step for step in first["steps"]}
    assert first["state"] == "succeeded"
    assert first["outputs"]["accuracy"] > 0.9
    assert first["temporal_url"].endswith(f"/namespaces/default/workflows/{first['run_id']}")
    assert [(s["engine"], s["state"], s["attempt"], s["cached_nodes"]) for s in first["steps"]] == [
        ("argo", "succeeded", 1, 0),
        ("kfp", "succeeded", 1, 0),
        ("kfp", "succeeded", 1, 0),
        ("argo", "succeeded", 1, 0),
    ]
    assert all(step["engine_run"].startswith(f"hybrid-training-{name}-") for name, step in steps.items())
    assert all(step["seconds"] > 0 for step in steps.values())
    artifacts = {f"{name}.{a['name']}": a for name, step in steps.items() for a in step["artifacts"]}
    assert all(a["uri"].startswith("s3://") for a in artifacts.values())
    digests = {name: a["sha256"] for name, a in artifacts.items()}
    assert digests["train.model"] == digests["deploy.model"]
    assert all(len(digest) == 64 for digest in digests.values())
    assert not processes_with(str(folder))
    with closing(sqlite3.connect(folder / "store.db")) as store:
        leases = store.execute("SELECT token, tried FROM leases WHERE key LIKE 'hybrid-training-%'").fetchall()
    assert leases == [("", 1)] * 4, "the worker leases each step's key in the store, and lets it go"

    # The same data set, so the same model; a gate that it does not pass, so nothing is deployed.
    second = demo(folder, environments, "-i", "min_accuracy=0.999")
    steps = {step["name"]: step for step in second["steps"]}
    assert second["state"] == "succeeded"
    assert steps["train"]["cached_nodes"] == 1
    assert steps["evaluate"]["cached_nodes"] == 1
    assert second["outputs"]["model"] == first["outputs"]["model"]
    assert steps["deploy"]["state"] == "skipped"
    assert second["outputs"]["deployed_version"] is None
