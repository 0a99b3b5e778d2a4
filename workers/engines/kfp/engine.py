"""Kubeflow Pipelines behind the `Engine` protocol."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from workers.artifacts import ArtifactStore
from workers.circuit import CircuitView
from workers.engines.base import EngineCheck, EngineHealth, LogLine, OurRun, RunPhase, Submission, Unknown
from workers.engines.ending import Going, Told, end_runs
from workers.engines.fencing import Fence
from workers.engines.json_view import child, text
from workers.engines.kfp import ours
from workers.engines.kfp import outcome as reading
from workers.engines.kfp.adopting import KfpAdopter
from workers.engines.kfp.checking import check_kfp
from workers.engines.kfp.client import KfpClient
from workers.engines.kfp.identity import describe, identity_of
from workers.engines.kfp.ir import Pipeline, check_complete, parse_package, pipeline_of_api, runtime_parameters
from workers.engines.kfp.late import LateLooks
from workers.engines.kfp.metadata import MetadataReader
from workers.engines.kfp.rehearsing import rehearse_kfp
from workers.engines.kfp.results import ResultReader
from workers.engines.kfp.watcher import KfpWatcher
from workers.engines.local_keeper import LocalKeeper
from workers.engines.resuming import retry_in_place
from workers.engines.times import times_of
from workers.engines.waiting import until_read, wait_until_ended
from workers.http import CONFLICT, NOT_FOUND, ApiRejected
from workers.ports import Keeper
from workers.settings import KfpSettings
from workflows.errors import EngineRejected, EngineRunLost
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef, FailureClass, Outcome
from workflows.spec.sources import KfpSource
from workflows.values import JsonObject

log = logging.getLogger(__name__)

_REMEMBERED = 10_000


class KfpEngine:
    """One KFP API server.

    Args:
        name: in the configuration.
        settings: of the server.
        objects: the store that artifacts are in.
        keeper: what worker processes share to keep one run for each key; None: this process is alone.
    """

    kind = EngineKind.KFP

    def __init__(self, name: str, settings: KfpSettings, objects: ArtifactStore, keeper: Keeper | None = None) -> None:
        self.name = name
        self._settings = settings
        self._client = KfpClient(name, settings)
        self._metadata: MetadataReader | None = None
        if settings.metadata_address:
            self._metadata = MetadataReader(name, settings.metadata_address, settings.request_timeout)
        self._results = ResultReader(name, self._client, self._metadata, objects)
        self._watcher = KfpWatcher(name, self._client, settings)
        self._experiments: dict[str, str] = {}
        self._terminated: OrderedDict[str, None] = OrderedDict()
        self._fence = Fence(name, keeper or LocalKeeper(), times_of(settings))
        self._adopter = KfpAdopter(self._client, self._fence, self._run_body, self._ref)
        self._late = LateLooks(self._adopter, settings.settle_delay)

    @property
    def circuit(self) -> CircuitView:
        """See `Engine.circuit`."""
        return self._client.circuit.view()

    @property
    def awaited_runs(self) -> int:
        """See `Engine.awaited_runs`."""
        return len(self._watcher.awaited)

    async def submit(self, submission: Submission) -> EngineRunRef:
        """See `Engine.submit`. KFP lets a display name be given twice, so the name is looked up before and after."""
        try:
            return await self._adopter.submit(submission)
        except ApiRejected as error:
            if error.status == NOT_FOUND:
                self._experiments.clear()  # one that was deleted since; the next try looks it up anew
            raise

    async def resume(self, ref: EngineRunRef, key: RunKey) -> EngineRunRef:
        """See `Engine.resume`: POST `:retry`, which keeps the run's id and the tasks that succeeded.

        What fences it: only a FAILED or CANCELED run is retried, and only while it still shows the end (`finished_at`)
        that this key saw first, which is kept for all worker processes.
        """

        async def retry(send_by: float) -> None:
            self._terminated.pop(ref.uid, None)
            await self._client.retry(ref.uid, send_by=send_by)

        run = await retry_in_place(
            self._fence,
            key,
            ref.uid,
            current=lambda: self._current(ref),
            end=_retryable_end,
            retry=retry,
        )
        return self._ref(run)

    async def wait(self, ref: EngineRunRef, alive: Callable[[], None]) -> Outcome:
        """See `Engine.wait`. A second run of the key can show late: the name is looked up twice meanwhile."""
        registered = self._watcher.register(ref.uid, ref.name)
        with self._late.register(ref):
            outcome = await wait_until_ended(lambda: self._look(ref), self._watcher, registered, alive)
        await until_read(lambda: self._adopter.end_others(ref), alive)
        return outcome

    async def terminate(self, key: RunKey, name: str, ref: EngineRunRef | None, *, grace: float = 0.0) -> bool:
        """See `Engine.terminate`. KFP's one verb is `:terminate`: there is nothing to wait a grace for."""
        runs: dict[str, JsonObject] = {}

        async def look() -> list[Going] | None:
            found = await self._runs_of(key, name, ref)
            if found is None:
                return None
            runs.update((text(run, "run_id"), run) for run in found)
            return [Going(text(run, "run_id"), reading.told(run)) for run in found]

        async def tell(run: str, _: Told) -> None:
            await self._adopter.others.note(key, ref, self._ref(runs[run]))
            await self._end(run)

        return await end_runs(
            look, tell, engine=self.name, grace=0.0, settle_delay=self._settings.settle_delay, known=ref is not None
        )

    async def list_ours(self) -> AsyncGenerator[OurRun]:
        """See `Engine.list_ours`."""
        async with aclosing(ours.list_unended(self._client, self._ref)) as runs:
            async for run in runs:
                yield run

    async def phase_of(self, ref: EngineRunRef) -> RunPhase:
        """See `Engine.phase_of`."""
        return await ours.phase_of(self._client, ref)

    async def logs(self, ref: EngineRunRef, *, follow: bool = False) -> AsyncGenerator[LogLine]:
        """See `Engine.logs`: KFP's API has no logs, so these are the errors of the run and its tasks."""
        while True:
            run = await self._client.run(ref.uid)
            if run is None or reading.has_ended(run) or not follow:
                break
            await asyncio.sleep(self._settings.poll)
        for name, message in reading.error_lines(run or {}):
            for line in message.splitlines():
                yield LogLine(node=name, text=line)

    async def rehearse(self, submission: Submission, unknown: Unknown) -> list[EngineCheck]:
        """See `Engine.rehearse`."""
        return await rehearse_kfp(self._client, submission, unknown, self._pipeline)

    async def health(self) -> EngineHealth:
        """See `Engine.health`."""
        return await check_kfp(self.name, self._client, self._metadata, self._settings)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._watcher.stop()
        await self._late.stop()
        self._client.close()
        if self._metadata is not None:
            await self._metadata.close()

    async def _run_body(self, submission: Submission) -> JsonObject:
        source = submission.source
        assert isinstance(source, KfpSource)  # the registry routes by kind
        body: JsonObject = {
            "display_name": submission.name,
            "description": describe(submission.key, submission.spec_digest, self._settings.labels),
        }
        if source.package is not None:
            pipeline = await self._pipeline(submission)
            sent = pipeline if source.cache else pipeline.without_cache()
            body["pipeline_spec"] = sent.with_variables(submission.trace).for_api()
        else:
            pipeline, reference = await self._uploaded(source)
            if source.cache:
                body["pipeline_version_reference"] = reference
            else:  # a reference cannot say it
                body["pipeline_spec"] = pipeline.without_cache().with_variables(submission.trace).for_api()
        values = runtime_parameters(pipeline, submission.parameters, submission.artifacts, submission.trace)
        check_complete(pipeline, values)
        config: JsonObject = {"parameters": values}
        if root := source.pipeline_root or self._settings.pipeline_root:
            config["pipeline_root"] = root
        body["runtime_config"] = config
        if account := source.service_account or self._settings.service_account:
            body["service_account"] = account
        body["experiment_id"] = await self._experiment(source.experiment or submission.workflow)  # made at need: last
        return body

    async def _pipeline(self, submission: Submission) -> Pipeline:
        """What a submission runs: the bundle's, or an uploaded one."""
        source = submission.source
        assert isinstance(source, KfpSource)  # the registry routes by kind
        if source.package is not None:
            return parse_package(submission.manifest or "", source.package)
        return (await self._uploaded(source))[0]

    async def _uploaded(self, source: KfpSource) -> tuple[Pipeline, JsonObject]:
        """An uploaded pipeline by the names of itself and its version."""
        name = source.pipeline or ""
        pipeline_id = await self._client.pipeline(name)
        if not pipeline_id:
            raise EngineRejected(
                f"engine '{self.name}' has no pipeline '{name}'", hint="upload it, or correct the step's 'pipeline'"
            )
        versions = await self._client.versions(pipeline_id)
        wanted = source.version
        matching = [v for v in versions if wanted is None or wanted in (text(v, "name"), text(v, "display_name"))]
        if not matching:
            known = ", ".join(text(v, "display_name") for v in versions[:10]) or "none"
            raise EngineRejected(
                f"engine '{self.name}': pipeline '{name}' has no version '{wanted or ''}'",
                hint=f"it has: {known}",
            )
        version = matching[0]
        reference: JsonObject = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": text(version, "pipeline_version_id"),
        }
        return pipeline_of_api(child(version, "pipeline_spec")), reference

    async def _experiment(self, name: str) -> str:
        """Id of an experiment, made when it is missing."""
        if name in self._experiments:
            return self._experiments[name]
        found = await self._client.experiment(name)
        if not found:
            try:
                found = await self._client.create_experiment(name)
            except ApiRejected as error:
                if error.status != CONFLICT:
                    raise
                found = await self._client.experiment(name)  # somebody else has just made it
        self._experiments[name] = found
        return found

    async def _current(self, ref: EngineRunRef) -> JsonObject:
        found = await self._client.run(ref.uid)
        if found is None:
            raise EngineRunLost(
                f"engine '{self.name}': run '{ref.name}' ({ref.uid}) is gone and cannot be retried in place",
                hint="use retry strategy 'restart', or keep finished runs longer",
            )
        return found

    async def _look(self, ref: EngineRunRef) -> Outcome | None:
        """Read a run if it has ended; one whose row is gone is LOST."""
        run = await self._client.run(ref.uid)
        if run is None:
            return Outcome(
                failure=FailureClass.LOST,
                message=f"run '{ref.name}' ({ref.uid}) is gone from engine '{self.name}' before its result was read",
            )
        if not reading.has_ended(run):
            return None
        cancelled = ref.uid in self._terminated or reading.was_cancelled(run)
        outcome = await self._results.read(run, ref.uid, cancelled=cancelled)
        return outcome.model_copy(update={"url": ref.url})

    async def _runs_of(self, key: RunKey, name: str, ref: EngineRunRef | None) -> list[JsonObject] | None:
        """Runs of a key that have not ended; None when there is no run at all.

        By name, and by reference: a run that was resumed carries the key of the attempt that made it.
        """
        candidates = await self._client.runs_named(name)
        runs: dict[str, JsonObject] = {}
        if ref is not None and (run := await self._client.run(ref.uid)) is not None:
            runs[ref.uid] = run
        for run in candidates:
            if identity_of(run).key == str(key):
                runs.setdefault(text(run, "run_id"), run)
        if not runs:
            return None
        return [run for run in runs.values() if not reading.has_ended(run)]

    async def _end(self, run_id: str) -> None:
        self._terminated[run_id] = None
        if len(self._terminated) > _REMEMBERED:
            self._terminated.popitem(last=False)
        try:
            await self._client.terminate(run_id)
        except ApiRejected as error:
            # It ended in between, is ending already, or is gone; the next look says which.
            if error.status not in (400, NOT_FOUND, CONFLICT):
                raise

    def _ref(self, run: JsonObject) -> EngineRunRef:
        run_id = text(run, "run_id")
        base = self._settings.ui_url.rstrip("/")
        return EngineRunRef(
            engine=self.name,
            kind=self.kind,
            name=text(run, "display_name"),
            uid=run_id,
            namespace=self._settings.namespace,
            url=f"{base}/#/runs/details/{run_id}" if base else "",
        )


def _retryable_end(run: JsonObject) -> str:
    """When a run that can be retried ended; empty for any other."""
    return text(run, "finished_at") if reading.state(run) in reading.RETRYABLE else ""
