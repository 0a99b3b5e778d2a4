# pyright: basic
# (kfp has no types)
"""A component as a process: its environment, its command, its end."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from .pod import Pod
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


def run(command: list[str], env: dict[str, str], pod: Pod, *, work: Path, log: Path, guard: str) -> tuple[int, str]:
    """Run a command to its end; its output goes to the log.

    Returns:
        The exit code, and what went wrong; empty when nothing did.
    """
    if not command or not (program := shutil.which(command[0], path=env["PATH"])):
        return 127, f"exit code 127: {command[0] if command else 'the command'}: not found"
    ours, theirs = socket.socketpair()
    limits = {"memory": pod.memory, "cores": pod.cores}
    lifeline = "".join([str(theirs.fileno()), ",reap", *(f",{key}={value}" for key, value in limits.items() if value)])
    tail: list[str] = []
    late = threading.Event()
    with (
        ours,
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [sys.executable, "-I", "-S", guard, lifeline, program, *command[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1, env=env, cwd=work,
            pass_fds=(theirs.fileno(),), start_new_session=True,
        ) as process,
    ):  # fmt: skip
        theirs.close()
        assert process.stdout is not None
        timer = threading.Timer(pod.deadline or 0, lambda: (late.set(), ours.shutdown(socket.SHUT_WR)))
        if pod.deadline:
            timer.start()
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail = [*tail[-LOG_TAIL_LINES:], line]
        process.wait()
        timer.cancel()
        if late.is_set():
            return 137, f"Pod was active on the node longer than the specified deadline ({pod.deadline:g} s)"
        ours.setblocking(False)
        said = b""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):  # nothing was said
            said = ours.recv(64)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if b"oom" in said:
        return 137, f"OOMKilled (exit code 137): more than {pod.memory} bytes"
    return code, f"exit code {code}: {last_words(tail)}" if code else ""
