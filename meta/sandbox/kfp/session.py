"""One attempt of one run: its folder, its process, and the conversation with `inside/kfp_run`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from meta.processes import Confinement, GuardedProcess, kill_group, spawn, start_mark
from meta.sandbox.kfp.events import Finished, Publish, RunnerEvent, Stage, parse_event
from meta.sandbox.kfp.executors import RUN_PATH
from meta.sandbox.kfp.objects import ObjectError, Objects
from meta.sandbox.kfp.pipeline import Json
from meta.sandbox.kfp.recorder import Recorder

_INSIDE = Path(__file__).with_name("inside")
_CHUNK_BYTES = 65536
_TERMINATE_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """What the runner is told (`job.json`).

    Attributes:
        spec: the IR.
        parameters: checked run parameters.
        pipeline_root: of this run, with the pipeline's name and the run's id.
        cache_root: folder of the pipeline's cache entries.
        pythons: executor label -> interpreter of its environment.
        finished: path of a task -> its kept outputs, for a retry.
        commands: executor label -> what stands in for its image's entrypoint.
        facts: the pipeline's own placeholders (`{{$.pipeline_job_uuid}}`) -> what they stand for.
        platform: executor label -> its Kubernetes settings.
        objects: `Kind/name` -> key -> base64, of the ConfigMaps and Secrets that the run may read.
        volumes: folder of the persistent volume claims.
        guard: `meta/guard.py`, which holds components to their limits.
        max_artifact_bytes: of all artifacts that one task may make.
    """

    spec: Json
    parameters: Json
    pipeline_root: str
    cache_root: str
    pythons: Mapping[str, str]
    finished: Mapping[str, Json]
    commands: Mapping[str, Sequence[str]]
    facts: Mapping[str, str]
    platform: Mapping[str, Json]
    objects: Mapping[str, Mapping[str, str]]
    volumes: str
    guard: str
    max_artifact_bytes: int


class Session:
    """Runs a job and records it.

    Args:
        folder: the run's own; everything the run leaves is in it.
        python: interpreter that runs `inside/kfp_run`.
        objects: the S3 server.
        recorder: takes the events.
    """

    def __init__(self, folder: Path, python: Path, objects: Objects, recorder: Recorder) -> None:
        self._folder = folder
        self._python = python
        self._objects = objects
        self._recorder = recorder
        self._process: GuardedProcess | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._mount = folder / "s3"

    async def start(self, job: Job) -> tuple[int, str]:
        """Start the process.

        Returns:
            Its group, and the start time of the group's leader.
        """
        for name in ("s3", "home", "tmp"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for old in (self._folder / "replies").glob("*.json"):
            old.unlink()  # of an earlier attempt
        text = json.dumps({name: getattr(job, name) for name in Job.__slots__})
        job_file = self._folder / "job.json"
        job_file.touch(mode=0o600)  # it may hold Secrets
        job_file.write_text(text, encoding="utf-8")
        with (self._folder / "run.log").open("ab") as log:
            self._process = await spawn(
                [str(self._python), "-m", "kfp_run", str(self._folder)],
                env=self._environment(),
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
                confinement=Confinement(),  # what makes itself a daemon ends with the run too
            )
        return self._process.pgid, start_mark(self._process.pgid)

    def _environment(self) -> dict[str, str]:
        """A clean environment: nothing of the server's, above all no credentials."""
        env = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
        return env | {
            "PATH": RUN_PATH,
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(_INSIDE),
            "PYTHONSAFEPATH": "1",
        }

    async def follow(self) -> Finished:
        """Record events until the process has ended.

        Returns:
            How the run ended, in the runner's words, or in ours if it ended without a word.
        """
        process = self._process
        assert process is not None and process.process.stdout is not None, "start() comes first"
        end: Finished | None = None
        rest = b""
        try:
            while chunk := await process.process.stdout.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = self._read(line)
                    if isinstance(event, Finished):
                        end = event
            code = await process.wait()
        except BaseException:
            await process.stop(_TERMINATE_GRACE_S)
            raise
        finally:
            for answer in self._answers:
                answer.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)
        if end is None:
            end = Finished(event="finished", state="FAILED", error=f"the run's process ended with exit code {code}")
        return end

    def _read(self, line: bytes) -> RunnerEvent:
        try:
            event = parse_event(line)
        except ValidationError as error:
            raise RuntimeError(
                f"the runner said what the server does not understand: {line[:200]!r}: {error}"
            ) from error
        self._recorder.record(event)
        if isinstance(event, (Stage, Publish)):
            task = asyncio.create_task(self._answer(event))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
        return event

    async def _answer(self, question: Stage | Publish) -> None:
        error = ""
        try:
            for uri in question.uris:
                if isinstance(question, Stage):
                    doing = f'failed to download input artifact "{question.artifact}" from remote storage URI "{uri}"'
                    await self._objects.download(uri, self._mount)
                else:
                    doing = f'failed to upload output artifact to remote storage URI "{uri}"'
                    await self._objects.upload(uri, self._mount)
        except ObjectError as problem:
            error = f"{doing}: {problem}"  # pyright: ignore[reportPossiblyUnboundVariable] - set before each transfer
        reply = self._folder / "replies" / f"{question.reply}.json"
        partial = reply.with_suffix(".partial")
        partial.write_text(json.dumps({"error": error}), encoding="utf-8")
        partial.rename(reply)

    def tidy(self) -> None:
        """Remove the copies of objects and other scratch; logs stay."""
        for name in ("s3", "home", "tmp", "local", "workspace", "replies", "work", "bin", "pods"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        (self._folder / "job.json").unlink(missing_ok=True)

    async def stop(self) -> None:
        """End the process and all that it started."""
        if self._process is not None:
            await self._process.stop(_TERMINATE_GRACE_S)


def end_leftover(pgid: int, started: str, wait_s: float = 5.0) -> bool:
    """End the process group of a run whose server died, if it is still the same group.

    The guard has done so already, but for the moment between the server's death and the kill.

    Returns:
        True if there was anything to end.
    """
    if pgid <= 0 or not started or start_mark(pgid) != started:
        return False
    kill_group(pgid)
    until = time.monotonic() + wait_s
    while start_mark(pgid) == started and time.monotonic() < until:
        time.sleep(0.01)
    return True
