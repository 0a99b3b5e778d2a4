"""The stack on the other Pythons that this machine has; where it has none, there is nothing to test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUPPORTED = ("3.11", "3.12", "3.13")
UV = Path(sys.executable).parent / "uv"


def interpreters() -> list[str]:
    """Paths of the other supported Pythons: of uv, pyenv or the system; nothing is downloaded."""
    environment = dict(os.environ)
    # pyenv's shims answer for versions that are not selected, and fail: look at the versions themselves
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [str(path) for path in sorted(versions.glob("3.*/bin"))]
    others = [part for part in environment["PATH"].split(os.pathsep) if "shims" not in part]
    environment["PATH"] = os.pathsep.join([*folders, *others])
    found: list[str] = []
    for version in SUPPORTED:
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue
        command = [str(UV), "python", "find", version, "--no-python-downloads", "--system"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if answer.returncode == 0:
            found.append(answer.stdout.strip())
    return found


def install(python: str, folder: Path) -> Path:
    """An environment from the lock file, as `make install` makes it.

    Returns:
        Its Python.
    """
    ours = folder / "venv" / "bin" / "python"
    quiet = [str(UV), "--quiet"]
    install_in = [*quiet, "pip", "install", "--python", str(ours)]
    lock = ROOT / "requirements.lock"
    for command in (
        [*quiet, "venv", "--seed", "--python", python, str(folder / "venv")],
        [*install_in, "--require-hashes", "--requirements", str(lock)],
        [*install_in, "--no-deps", "--editable", str(ROOT)],
    ):
        subprocess.run(command, check=True, timeout=600)
    return ours


def _newest_now_others_under_prove(pythons: list[str]) -> list[object]:
    return [*(pytest.param(one, marks=pytest.mark.prove) for one in pythons[:-1]), *pythons[-1:]]


@pytest.mark.prove
@pytest.mark.parametrize("python", _newest_now_others_under_prove(interpreters()))
def test_the_stack_serves_on_another_python(python: str, tmp_path: Path) -> None:
    ours = install(python, tmp_path)
    data = tmp_path / "stack"
    meta = [str(ours), "-m", "meta"]
    up = [*meta, "up", "--detach", "--data-dir", str(data), "--part", "worker", "--part", "service", "--output", "json"]
    try:
        started = subprocess.run(up, capture_output=True, text=True, timeout=240, check=False)
        assert started.returncode == 0, started.stderr
        address = json.loads(started.stdout)["grpc"]
        answer = subprocess.run(
            [*meta, "--address", address, "list", "--output", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
    finally:
        subprocess.run([*meta, "down", "--data-dir", str(data)], check=True, timeout=120, capture_output=True)


@pytest.mark.prove
@pytest.mark.parametrize("python", _newest_now_others_under_prove(interpreters()))
def test_the_demo_runs_on_another_python(python: str, tmp_path: Path) -> None:
    ours = install(python, tmp_path)
    command = [str(ours), "-m", "meta", "demo", "--data-dir", str(tmp_path / "stack"), "--output", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outputs"]["accuracy"] > 0.9
