from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta.preflight import check_packages

FOREIGN = "import pathlib\npathlib.Path(__file__).with_name('was-run').write_text('')\nVERSION = 1\n"


def run(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env=environment,
    )  # fmt: skip


def test_our_own_packages_pass() -> None:
    check_packages()


@pytest.mark.parametrize("name", ["workflows", "workers"])
@pytest.mark.parametrize("arguments", [("-m", "meta", "--help"), ("-m", "meta", "doctor")])
def test_a_foreign_package_where_the_command_runs_is_named(
    tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(FOREIGN)
    result = run(tmp_path, *arguments)
    assert result.returncode == 1
    assert f"another package named '{name}' is in the way of meta-workflows's: {package}/__init__.py" in result.stderr
    assert "environment of its own" in result.stderr
    assert not (package / "was-run").exists(), "nothing of the foreign package was run"


def test_the_command_says_so_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "workflows.py").write_text(FOREIGN)
    result = run(tmp_path, "-c", "from meta.preflight import exit_if_shadowed; exit_if_shadowed()")
    assert result.returncode == 1
    assert result.stderr.startswith("error: another package named 'workflows' is in the way")
    assert "Traceback" not in result.stderr


def test_the_error_is_the_trees_own_class_although_its_package_is_in_the_shadow(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()  # no __init__.py: a namespace package would lose to ours, a regular one wins
    (tmp_path / "workflows" / "__init__.py").write_text("")
    code = (
        "from meta.preflight import check_packages\n"
        "try: check_packages()\n"
        "except Exception as error: print(type(error).__name__, error.code, bool(error.hint))\n"
    )
    assert run(tmp_path, "-c", code).stdout.strip() == "PackageShadowed PACKAGE_SHADOWED True"


def test_a_package_in_the_way_through_the_search_path_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "lib" / "workers").mkdir(parents=True)
    (tmp_path / "lib" / "workers" / "__init__.py").write_text(FOREIGN)
    result = run(tmp_path, "-m", "meta", "--help", path=tmp_path / "lib")
    assert result.returncode == 1
    assert str(tmp_path / "lib" / "workers") in result.stderr
