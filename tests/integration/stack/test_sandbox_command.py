"""`meta sandbox argo` and `meta sandbox kfp` as people start them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import pytest
import urllib3

from tests.docs.pages import snippets
from tests.integration.stack.conftest import Command, is_gone, pids_of
from tests.support.chain import environments_folder

ENDED = {"argo": "Succeeded", "kfp": "SUCCEEDED"}


def _run_snippet(engine: str, address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's program for an engine, with the address of now."""
    client = {"argo": "hera.workflows", "kfp": "import kfp"}[engine]
    (text,) = [one.text for one in snippets("python", pages=("docs/sandbox-engines.md",)) if client in one.text]
    file = folder / "client.py"
    file.write_text(re.sub(r"http://127.0.0.1:\d+", address, text))
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize(
    ("engine", "path", "keys"),
    [("argo", "/api/v1/version", {"argo", "s3"}), ("kfp", "/apis/v2beta1/healthz", {"kfp", "kfp_metadata", "s3"})],
)
def test_each_sandbox_runs_alone_until_a_signal(meta: Command, engine: str, path: str, keys: set[str]) -> None:
    folder = ("--environments", str(environments_folder()))
    process = meta.start(engine, *folder, "--output", "json")
    line = cast("IO[str]", process.stdout).readline()
    assert line, cast("IO[str]", process.stderr).read()
    addresses = json.loads(line)
    assert set(addresses) == keys | {"data_dir", "config", "s3_bucket", "s3_access_key", "s3_secret_key"}
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("GET", addresses[engine] + path).status == 200
    shown = _run_snippet(engine, addresses[engine], meta.folder.parent)
    assert shown.stdout.splitlines()[-1:] == [ENDED[engine]], shown.stdout + shown.stderr
    pids = pids_of(meta.state())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert all(map(is_gone, pids))


def test_the_servers_own_options_are_shown_and_passed_on(meta: Command) -> None:
    shown = meta.run("argo", "--help").stdout
    assert "--max-concurrent-pods" in shown
    folder = ("--environments", str(environments_folder()))
    (meta.folder.parent / "objects.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")
    more = ("--token", "secret", "--objects", "objects.yaml")  # a path from where the command is given
    process = meta.start("argo", *folder, "--output", "json", *more)
    address = json.loads(cast("IO[str]", process.stdout).readline())["argo"]
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("GET", f"{address}/api/v1/version").status == 401
        bearer = {"Authorization": "Bearer secret"}
        assert http.request("GET", f"{address}/api/v1/version", headers=bearer).status == 200


def test_a_slip_in_the_servers_options_is_said_before_anything_starts(meta: Command) -> None:
    refused = meta.run("argo", "--max-concurrent-pods", "0")
    assert refused.returncode == 2
    assert "--max-concurrent-pods: must be 1 or more" in refused.stderr
    refused = meta.run("kfp", "--objects", "nowhere.yaml")
    assert refused.returncode == 2
    assert "nowhere.yaml: there is no such file or folder" in refused.stderr
    refused = meta.run("kfp", "--images", "nowhere.toml")
    assert "nowhere.toml: there is no such file" in refused.stderr
    assert not meta.folder.exists()
