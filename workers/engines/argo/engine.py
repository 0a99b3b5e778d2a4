"""Argo Workflows behind the `Engine` protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from workers.artifacts import ArtifactStore
from workers.circuit import CircuitView
from workers.engines.argo import ours
from workers.engines.argo import outcome as reading
from workers.engines.argo.adopting import IDENTITY, ArgoAdopter
from workers.engines.argo.checking import check_argo
from workers.engines.argo.client import ArgoClient
from workers.engines.argo.last_lines import with_last_lines
from workers.engines.argo.logs import read_logs
from workers.engines.argo.manifest import build_workflow, run_identity, template_reference
from workers.engines.argo.rehearsing import rehearse_argo
from workers.engines.argo.watcher import ArgoWatcher
from workers.engines.base import EngineCheck, EngineHealth, LogLine, OurRun, RunPhase, Submission, Unknown
from workers.engines.ending import Going, Told, end_runs
from workers.engines.fencing import Fence
from workers.engines.json_view import child, text
from workers.engines.local_keeper import LocalKeeper
from workers.engines.resuming import retry_in_place
from workers.engines.times import times_of
from workers.engines.waiting import wait_until_ended
from workers.http import ApiRejected
from workers.ports import Keeper
from workers.settings import ArgoSettings
from workflows.errors import EngineRejected, EngineRunLost
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailureClass, Outcome
from workflows.spec.sources import ArgoSource
from workflows.values import JsonObject

log = logging.getLogger(__name__)


class ArgoEngine:
    """One Argo server and namespace.

    Args:
        name: in the configuration.
        settings: of the server.
        objects: the store that artifacts are in.
        keeper: what worker processes share to keep one run for each key; None: this process is alone.
    """

    kind = EngineKind.ARGO

    def __init__(self, name: str, settings: ArgoSettings, objects: ArtifactStore, keeper: Keeper | None = None) -> None:
        self.name = name
        self._settings = settings
        self._objects = objects
        self._client = ArgoClient(name, settings)
        self._watcher = ArgoWatcher(name, self._client, settings)
        self._fence = Fence(name, keeper or LocalKeeper(), times_of(settings))
        self._adopter = ArgoAdopter(settings.namespace, self._client, self._fence, self._workflow, self._ref)

    @property
    def circuit(self) -> CircuitView:
        """See `Engine.circuit`."""
        return self._client.circuit.view()

    @property
    def awaited_runs(self) -> int:
        """See `Engine.awaited_runs`."""
        return len(self._watcher.awaited)

    async def submit(self, submission: Submission) -> EngineRunRef:
        """See `Engine.submit`. A Workflow's name is unique in its namespace, which makes creating idempotent."""
        return await self._adopter.submit(submission)

    async def resume(self, ref: EngineRunRef, key: RunKey) -> EngineRunRef:
        """See `Engine.resume`: PUT `retry`, which keeps the name, the uid and the nodes that succeeded.

        Argo's retry has no idempotency key. What fences it: only a Failed or Error Workflow is retried, and only while
        it still shows the end that this key saw first, which is kept for all worker processes.
        """

        async def retry(send_by: float) -> None:
            await self._client.retry(ref.name, send_by=send_by)

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
        """See `Engine.wait`."""
        registered = self._watcher.register(ref.name)
        return await wait_until_ended(lambda: self._look(ref), self._watcher, registered, alive)

    async def terminate(self, key: RunKey, name: str, ref: EngineRunRef | None, *, grace: float = 0.0) -> bool:
        """See `Engine.terminate`: `stop`, with which exit handlers run, then `terminate`, with which they do not."""
        runs: dict[str, JsonObject] = {}

        async def look() -> list[Going] | None:
            found = await self._runs_of(key, name, ref)
            if found is None:
                return None
            runs.update((text(run, "metadata", "name"), run) for run in found)
            return [Going(text(run, "metadata", "name"), reading.told(run)) for run in found]

        async def tell(run: str, what: Told) -> None:
            await self._adopter.others.note(key, ref, self._ref(runs[run]))
            await (self._client.stop(run) if what is Told.STOP else self._client.terminate(run))

        return await end_runs(
            look, tell, engine=self.name, grace=grace, settle_delay=self._settings.settle_delay, known=ref is not None
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
        """See `Engine.logs`: lines of all pods' main containers."""
        workflow = await self._client.get(ref.name)
        nodes = {node.id: node.name for node in reading.read_nodes(workflow)} if workflow is not None else {}
        async with aclosing(read_logs(self._client, ref.name, nodes, follow=follow)) as lines:
            async for line in lines:
                yield line

    async def rehearse(self, submission: Submission, unknown: Unknown) -> list[EngineCheck]:
        """See `Engine.rehearse`."""

        def build(full: Submission, template: JsonObject | None, cron: JsonObject | None) -> JsonObject:
            return build_workflow(full, self._settings, self._objects, template, cron)

        return await rehearse_argo(self._client, submission, unknown, self._read, build)

    async def health(self) -> EngineHealth:
        """See `Engine.health`."""
        return await check_argo(self.name, self._client, self._settings)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._watcher.stop()
        self._client.close()

    async def _workflow(self, submission: Submission) -> JsonObject:
        """The Workflow of a submission, checked against what the templates on the server declare."""
        cron, template = await self._read(submission)
        return build_workflow(submission, self._settings, self._objects, template, cron)

    async def _read(self, submission: Submission) -> tuple[JsonObject | None, JsonObject | None]:
        """What the server has of what a submission names: the CronWorkflow, the template."""
        cron = await self._cron_workflow(submission.source)
        return cron, await self._template(template_reference(submission, cron))

    async def _cron_workflow(self, source: object) -> JsonObject | None:
        """The CronWorkflow that a source names; the Workflow is made of it, so it must be readable."""
        assert isinstance(source, ArgoSource)
        if source.cron_workflow is None:
            return None
        found = await self._client.cron_workflow(source.cron_workflow)
        if found is None:
            raise self._absent("CronWorkflow", source.cron_workflow)
        return found

    async def _template(self, reference: tuple[str, bool] | None) -> JsonObject | None:
        """A template by name and scope, for what it declares; None when we may not read templates."""
        if reference is None:
            return None
        name, cluster = reference
        try:
            found = await self._client.template(name, cluster=cluster)
        except ApiRejected as error:
            log.warning("template '%s' cannot be read, what is passed to it goes unchecked: %s", name, error.answer)
            return None
        if found is None:
            raise self._absent("ClusterWorkflowTemplate" if cluster else "WorkflowTemplate", name)
        return found

    def _absent(self, kind: str, name: str) -> EngineRejected:
        return EngineRejected(
            f"engine '{self.name}' has no {kind} '{name}' (namespace '{self._settings.namespace}')",
            hint="check the name in the definition, or create it",
        )

    async def _current(self, ref: EngineRunRef) -> JsonObject:
        found = await self._client.get(ref.name, fields=IDENTITY)
        if found is None or text(found, "metadata", "uid") != ref.uid:
            raise EngineRunLost(
                f"engine '{self.name}': workflow '{ref.name}' ({ref.uid}) is gone and cannot be retried in place",
                hint="use retry strategy 'restart', or keep finished workflows longer (spec.ttlStrategy)",
            )
        return found

    async def _look(self, ref: EngineRunRef) -> Outcome | None:
        """Read a run if it has ended: live, else from the archive, else it is LOST."""
        workflow = await self._client.get(ref.name)
        if workflow is None or text(workflow, "metadata", "uid") != ref.uid:
            await self._adopter.end_other(ref, workflow)
            workflow = await self._client.archived(ref.uid)
            if workflow is None:
                return Outcome(
                    failure=FailureClass.LOST,
                    message=f"workflow '{ref.name}' ({ref.uid}) was deleted before its result was read, "
                    f"and the archive of engine '{self.name}' does not have it",
                )
        if not reading.has_ended(workflow):
            return None
        outcome = reading.read_outcome(workflow, cancelled=reading.was_shut_down(workflow))
        artifacts, failed = await asyncio.gather(
            self._artifacts(workflow), with_last_lines(self._client, workflow, outcome)
        )
        return outcome.model_copy(update={"artifacts": artifacts, "failed_nodes": failed, "url": ref.url})

    async def _artifacts(self, workflow: JsonObject) -> dict[str, Artifact]:
        found = await asyncio.gather(
            *(
                self._objects.describe(item.name, item.uri, metadata=item.metadata)
                for item in reading.read_artifacts(workflow)
            )
        )
        return {artifact.name: artifact for artifact in found}

    async def _runs_of(self, key: RunKey, name: str, ref: EngineRunRef | None) -> list[JsonObject] | None:
        """Runs of a key that have not ended; None when there is no run at all.

        By name (reading by name sees what was just written), by label, and by reference: a run that was resumed
        carries the key of the attempt that made it.
        """
        names = dict.fromkeys([name, ref.name] if ref is not None else [name])
        candidates = [await self._client.get(n, fields=IDENTITY) for n in names]
        candidates += await self._client.list_run(key.hash)
        runs: dict[str, JsonObject] = {}
        for workflow in candidates:
            if workflow is None:
                continue
            uid = text(workflow, "metadata", "uid")
            if run_identity(workflow)[0] == str(key) or (ref is not None and uid == ref.uid):
                runs.setdefault(uid, workflow)  # the list lags: what was read by name wins
        if not runs:
            return None
        return [workflow for workflow in runs.values() if not reading.has_ended(workflow)]

    def _ref(self, workflow: JsonObject) -> EngineRunRef:
        metadata = child(workflow, "metadata")
        name, namespace, uid = text(metadata, "name"), self._settings.namespace, text(metadata, "uid")
        base = self._settings.ui_url.rstrip("/")
        return EngineRunRef(
            engine=self.name,
            kind=self.kind,
            name=name,
            uid=uid,
            namespace=namespace,
            url=f"{base}/workflows/{namespace}/{name}?uid={uid}" if base else "",
        )


def _retryable_end(workflow: JsonObject) -> str:
    """When a Workflow that can be retried began and ended; a retry changes both. Empty for any other."""
    if reading.phase(workflow) not in reading.RETRYABLE:
        return ""
    return f"{text(workflow, 'status', 'startedAt')} to {text(workflow, 'status', 'finishedAt')}"
