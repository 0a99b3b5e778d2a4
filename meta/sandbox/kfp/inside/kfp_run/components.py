# pyright: basic
# (kfp has no types)
"""A component as a process: its environment, its command, its end."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .text import last_words, without_pip_install

LOG_TAIL_LINES = 200
COMPONENT_MAIN = Path(__file__).with_name("component_main.py")
RUN_NAME = "{{$.pipeline_job_resource_name}}"
RUN_ID = "{{$.pipeline_job_uuid}}"


def is_python(container: Any) -> bool:
    """True for a component that the official executor for Python functions runs."""
    return any("kfp.dsl.executor_main" in part for part in container.command)


def with_our_executor(full_command: list[str]) -> list[str]:
    """The command of a Python component, started by `component_main.py` and without its installation of packages."""
    command = without_pip_install(full_command)
    return [part.replace("-m kfp.dsl.executor_main", f'"{COMPONENT_MAIN}"', 1) for part in command]


def environment_of(python: Path, given: dict[str, str], folder: Path) -> dict[str, str]:
    """The whole environment of a component. `sh` is bash where there is one, as in most images: it knows pipefail."""
    shells = folder / "bin"
    if not shells.exists() and (bash := shutil.which("bash")):
        shells.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another task of this run was faster
            (shells / "sh").symlink_to(bash)
    env = {**os.environ, **given, "VIRTUAL_ENV": str(python.parent.parent)}
    path = given.get("PATH") or os.environ.get("PATH", os.defpath)
    env["PATH"] = os.pathsep.join([str(shells), str(python.parent), path])
    env.pop("PYTHONPATH", None)  # ours
    return env | ({"PYTHONPATH": given["PYTHONPATH"]} if "PYTHONPATH" in given else {})


def run(command: list[str], env: dict[str, str], work: Path, log: Path) -> tuple[int, str]:
    """Run a command to its end; its output goes to the log.

    Returns:
        The exit code, and what went wrong; empty when nothing did.
    """
    if not command or not (program := shutil.which(command[0], path=env["PATH"])):
        return 127, f"exit code 127: {command[0] if command else 'the command'}: not found"
    tail: list[str] = []
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [program, *command[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1, env=env, cwd=work,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail = [*tail[-LOG_TAIL_LINES:], line]
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return code, f"exit code {code}: {last_words(tail)}" if code else ""
