"""The runs' life: the queue, the processes, terminate, retry, and what a restart of the server finds.

States follow the real backend: a terminated run is CANCELING until its processes have ended, and then FAILED, because
the backend maps the phase of its Argo Workflow (Failed) and knows no other end (resource_manager.go,
ReportWorkflowResource).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import time
from datetime import timedelta
from pathlib import Path

from meta.processes import GUARD
from meta.sandbox.environments import EnvironmentCache
from meta.sandbox.images import ImageTable
from meta.sandbox.kfp import runs, views
from meta.sandbox.kfp.errors import ApiError, bad_request, internal, invalid_input
from meta.sandbox.kfp.metadata_store import MetadataStore
from meta.sandbox.kfp.objects import Objects
from meta.sandbox.kfp.pipeline import CompiledPipeline, parse
from meta.sandbox.kfp.platform import objects_of
from meta.sandbox.kfp.pythons import Pythons
from meta.sandbox.kfp.recorder import Recorder
from meta.sandbox.kfp.runs import RunRecord, RunStore
from meta.sandbox.kfp.session import Job, Session, end_leftover
from meta.sandbox.kfp.settings import KfpSandboxSettings
from meta.sandbox.kubernetes_objects import KubernetesObjects
from workflows.errors import MetaError

_LOG = logging.getLogger(__name__)
_SWEEP_S = 600.0
_TERMINATED = "terminated on request"
_SERVER_ENDED = "the sandbox server ended while the run was in progress, and its processes with it"


class Controller:
    """Starts what waits and ends what must end. One per server."""

    def __init__(
        self, settings: KfpSandboxSettings, store: RunStore, metadata: MetadataStore, images: ImageTable,
        objects: KubernetesObjects,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._metadata = metadata
        self._images = images
        self._kubernetes = objects
        self._objects = Objects(settings)
        self._pythons = Pythons(EnvironmentCache(settings.environments_dir), images, settings.data_dir / "requirements")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False

    # -- from the API

    def submit(self) -> None:
        """Start as many waiting runs as there are free places."""
        if self._closing:
            return
        free = self._settings.max_concurrent_runs - len(self._running)
        if free <= 0:
            return
        for run_id in self._store.waiting(free, besides=self._running):
            task = asyncio.create_task(self._run(run_id), name=f"kfp-run-{run_id}")
            self._running[run_id] = task
            task.add_done_callback(lambda _, run_id=run_id: self._done(run_id))

    def _done(self, run_id: str) -> None:
        del self._running[run_id]
        run = self._store.find(run_id)
        if run is not None and run.state == runs.CANCELING:  # cancelled before its first step: nobody has ended it
            self._end(run, runs.FAILED, _TERMINATED)
        self.submit()

    def terminate(self, run_id: str) -> None:
        """End a run; it is CANCELING until its processes have ended.

        Raises:
            ApiError: there is no such run, or it has ended already.
        """
        run = self._store.get(run_id)
        if run.state not in (runs.PENDING, runs.RUNNING):
            raise invalid_input(f"Failed to terminate a run {run_id}. Row not found").wrap(
                f"Failed to terminate run {run_id}"
            )
        run.state = runs.CANCELING  # the real server writes no line into the history here
        self._store.save(run)
        task = self._running.get(run_id)
        if task is not None:
            task.cancel()
        else:  # it had not been started
            run.move(runs.FAILED, _TERMINATED)
            self._store.save(run)

    def retry(self, run_id: str) -> None:
        """Run a failed run again, in place: tasks that have succeeded keep their results.

        Raises:
            ApiError: there is no such run, or it has not failed.
        """
        run = self._store.get(run_id)
        if run.state not in runs.TERMINAL:
            raise bad_request(
                f"Cannot claim run {run_id} for retry: not in a terminal state",
                f'run is not in a terminal state: State="{run.state}"',
            ).wrap(f"Failed to retry run {run_id}: could not claim database row before workflow operation")
        if run.state == runs.SUCCEEDED:  # Argo: only a Failed or Error workflow can be retried
            raise internal(f"Failed to retry run {run_id}", "workflow must be Failed/Error to retry")
        run.attempt += 1
        run.move(runs.PENDING)
        self._store.save(run)
        self.submit()

    async def delete(self, run_id: str) -> None:
        """Forget a run and its folder, ending it first. Its artifacts and ML Metadata stay, as on a real server.

        Raises:
            ApiError: there is no such run.
        """
        self._store.get(run_id)
        task = self._running.get(run_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._store.delete(run_id)
        await asyncio.to_thread(shutil.rmtree, self._folder(run_id), ignore_errors=True)  # what it holds, it holds

    def _folder(self, run_id: str) -> Path:
        """Everything that a run leaves on the disk is below it."""
        return self._settings.data_dir / "runs" / run_id

    # -- the server's own life

    def recover(self) -> None:
        """After a start: end what an earlier server left behind, fail its runs truthfully, go on with the queue."""
        for run in self._store.in_states(runs.RUNNING, runs.CANCELING):
            if end_leftover(run.pgid, run.pgid_started):
                _LOG.warning("ended the leftover processes of run %s", run.id)
            reason = _TERMINATED if run.state == runs.CANCELING else _SERVER_ENDED
            self._end(run, runs.FAILED, reason)
        for run in self._store.begun():  # killed before the process was written down: it must not begin twice
            self._end(run, runs.FAILED, _SERVER_ENDED)
        self.submit()
        if self._settings.keep is not None:
            self._sweeper = asyncio.create_task(self._sweep(self._settings.keep), name="kfp-sweep")

    async def _sweep(self, keep: timedelta) -> None:
        """Delete what ended long ago, as the real server does with RUNS_RETENTION_TIME."""
        while True:
            for run_id in self._store.ended_before(int(time.time() - keep.total_seconds())):
                with contextlib.suppress(ApiError):  # somebody else has just deleted it
                    await self.delete(run_id)
            await asyncio.sleep(min(_SWEEP_S, max(1.0, keep.total_seconds() / 2)))

    async def close(self) -> None:
        """End all runs in progress; they are found and failed by the next start, as after a crash."""
        self._closing = True
        tasks = [*self._running.values(), *([self._sweeper] if self._sweeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one run

    async def _run(self, run_id: str) -> None:
        run = self._store.get(run_id)
        state, error = runs.FAILED, ""
        try:
            pipeline = parse(run.document, self._images, self._kubernetes)
            pythons, own = await self._pythons.prepare(pipeline)
            state, error = await self._attempt(run, pipeline, pythons, own)
        except asyncio.CancelledError:
            if self._closing:
                if run.state != runs.PENDING or run.pgid_started:  # one that has not begun waits for the next start
                    self._end(run, runs.FAILED, _SERVER_ENDED)
                raise
            error = _TERMINATED
        except MetaError as problem:
            error = str(problem)
        except Exception as problem:  # a bug of ours must not leave a run RUNNING for ever
            _LOG.exception("run %s broke off", run_id)
            error = f"the sandbox server failed: {type(problem).__name__}: {problem}"
        self._end(run, state, error)

    async def _attempt(
        self, run: RunRecord, pipeline: CompiledPipeline, pythons: dict[str, str], own: Path
    ) -> tuple[str, str]:
        root = f"{(run.pipeline_root or self._settings.default_pipeline_root).rstrip('/')}/{pipeline.name}/{run.id}"
        recorder = Recorder(self._store, self._metadata, run, pipeline, root)
        folder = self._folder(run.id)
        cache_root = self._settings.data_dir / "cache" / pipeline.name  # the real cache is per pipeline name too
        kept = {task.path: json.loads(task.kept) for task in self._store.tasks(run.id) if task.kept}
        session = Session(folder, own, self._objects, recorder)
        job = Job(
            spec=pipeline.spec,
            parameters=run.parameters,
            pipeline_root=root,
            cache_root=str(cache_root),
            pythons=pythons,
            finished=kept,
            commands={executor.label: executor.command for executor in pipeline.executors if executor.command},
            facts=views.facts(run) | {"namespace": self._settings.namespace},
            platform=pipeline.platform.executors,
            objects=objects_of(pipeline.platform, self._kubernetes),
            volumes=str(self._settings.data_dir / "volumes"),
            guard=str(GUARD),
            max_artifact_bytes=self._settings.artifact_limit_bytes,
        )
        try:
            run.pgid_started = runs.STARTING
            self._store.save(run)
            run.pgid, run.pgid_started = await session.start(job)
            run.move(runs.RUNNING)
            self._store.save(run)
            end = await session.follow()
        finally:
            await session.stop()
        if end.state == runs.SUCCEEDED:  # a failed one may be retried, and then finds its files
            await asyncio.to_thread(session.tidy)
        return end.state, end.error

    def _end(self, run: RunRecord, state: str, error: str) -> None:
        """The last word on an attempt: its processes have ended."""
        run.pgid, run.pgid_started = 0, ""
        run.storage_state = self._store.get(run.id).storage_state  # may have been archived meanwhile
        with self._metadata.database.transaction():
            run.move(state, error)
            self._store.save(run)
            if state == runs.FAILED:  # ML Metadata keeps them RUNNING: nobody is left who would write, as for a pod
                for task in self._store.tasks(run.id):
                    if task.state == runs.RUNNING:
                        task.state, task.error, task.finished_at = runs.FAILED, error, run.finished_at
                        self._store.save_task(task)
