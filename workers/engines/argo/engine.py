"""Argo Workflows behind the `Engine` protocol."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from workers.artifacts import ArtifactStore
from workers.backoff import Backoff
from workers.engines.argo import outcome as reading
from workers.engines.argo.client import ArgoClient
from workers.engines.argo.logs import read_logs
from workers.engines.argo.manifest import build_workflow, run_identity
from workers.engines.argo.watcher import ArgoWatcher
from workers.engines.base import EngineHealth, LogLine, Submission
from workers.engines.json_view import child, text
from workers.engines.resuming import retry_in_place
from workers.engines.waiting import wait_until_ended
from workers.http import CONFLICT, NOT_FOUND, ApiRejected, ApiUnavailable
from workers.settings import ArgoSettings
from workflows.errors import EngineError, EngineRejected, EngineRunForeign, EngineRunLost, EngineUnavailable
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailureClass, Outcome
from workflows.spec.models import ArgoSource
from workflows.values import JsonObject

log = logging.getLogger(__name__)

_IDENTITY = "metadata,spec.shutdown,status.phase,status.finishedAt"
_ENDING = 30.0
_FENCES = 10_000


class ArgoEngine:
    """One Argo server and namespace.

    Args:
        name: in the configuration.
        settings: of the server.
        objects: the store that artifacts are in.
    """

    kind = EngineKind.ARGO

    def __init__(self, name: str, settings: ArgoSettings, objects: ArtifactStore) -> None:
        self.name = name
        self._settings = settings
        self._objects = objects
        self._client = ArgoClient(name, settings)
        self._watcher = ArgoWatcher(name, self._client, settings)
        self._resumed: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def submit(self, submission: Submission) -> EngineRunRef:
        """See `Engine.submit`. A Workflow's name is unique in its namespace, which makes creating idempotent."""
        found = await self._client.get(submission.name, fields=_IDENTITY)
        if found is None:
            template = await self._template(submission.source)
            workflow = build_workflow(submission, self._settings, self._objects, template)
            found = await self._create(submission.name, workflow)
        key, digest = run_identity(found)
        if (key, digest) != (str(submission.key), submission.spec_digest):
            raise EngineRunForeign(
                f"engine '{self.name}': workflow '{submission.name}' in namespace '{self._settings.namespace}' is not "
                f"ours: it carries key '{key}' and digest '{digest}', not '{submission.key}' and "
                f"'{submission.spec_digest}'",
                hint=f"look at it (argo get {submission.name}); delete it if it is a leftover, then start a new run",
            )
        return self._ref(found)

    async def resume(self, ref: EngineRunRef, key: RunKey) -> EngineRunRef:
        """See `Engine.resume`: PUT `retry`, which keeps the name, the uid and the nodes that succeeded.

        Argo's retry has no idempotency key. What fences it: only a Failed or Error Workflow is retried, and within
        this process only while it still shows the end (`finishedAt`) that this key saw first.
        """

        async def retry() -> None:
            await self._client.retry(ref.name)

        run = await retry_in_place(
            lambda: self._current(ref),
            lambda found: self._may_retry(ref, key, found),
            retry,
            self._settings.settle_delay,
        )
        return self._ref(run)

    async def wait(self, ref: EngineRunRef, alive: Callable[[], None]) -> Outcome:
        """See `Engine.wait`."""
        return await wait_until_ended(lambda: self._look(ref), lambda: self._watcher.register(ref.name), alive)

    async def terminate(self, key: RunKey, name: str, ref: EngineRunRef | None) -> bool:
        """See `Engine.terminate`."""
        running = await self._runs_of(key, name, ref)
        if running is None and ref is None:
            await asyncio.sleep(self._settings.settle_delay)
            running = await self._runs_of(key, name, ref)
        if running is None:
            return ref is not None
        deadline = asyncio.get_running_loop().time() + _ENDING
        backoff = Backoff(first=0.1, limit=2.0)
        asked: set[str] = set()
        while running:
            for workflow in running:
                if not reading.was_shut_down(workflow) or text(workflow, "metadata", "uid") not in asked:
                    await self._end(text(workflow, "metadata", "name"))
                    asked.add(text(workflow, "metadata", "uid"))
            if asyncio.get_running_loop().time() > deadline:
                names = ", ".join(text(w, "metadata", "name") for w in running)
                raise EngineUnavailable(
                    f"engine '{self.name}': told to terminate, but still running after {_ENDING:.0f} s: {names}",
                    hint="it is asked again; if it stays so, look at the workflow controller",
                )
            await asyncio.sleep(backoff.next())
            running = await self._runs_of(key, name, ref)
        return True

    async def logs(self, ref: EngineRunRef, *, follow: bool = False) -> AsyncGenerator[LogLine]:
        """See `Engine.logs`: lines of all pods' main containers."""
        workflow = await self._client.get(ref.name)
        nodes = {node.id: node.name for node in reading.read_nodes(workflow)} if workflow is not None else {}
        async with aclosing(read_logs(self._client, ref.name, nodes, follow=follow)) as lines:
            async for line in lines:
                yield line

    async def health(self) -> EngineHealth:
        """See `Engine.health`: asks for the server's version, then for one Workflow to see the namespace and rights."""
        try:
            version = await self._client.version()
            await self._client.list_run("none")
        except EngineError as error:
            return EngineHealth(ok=False, message=error.message, hint=error.hint)
        return EngineHealth(ok=True, version=version, message=f"namespace {self._settings.namespace}")

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._watcher.stop()
        self._client.close()

    async def _create(self, name: str, workflow: JsonObject) -> JsonObject:
        """Create, and look again when the answer leaves open whether it was created.

        409 comes for a taken name and for some quota refusals alike, so the name is looked up after it too.
        """
        try:
            return await self._client.create(workflow)
        except ApiUnavailable as error:
            if not error.sent:
                raise
            problem: EngineError = error
        except ApiRejected as error:
            if error.status != CONFLICT:
                raise
            problem = ApiUnavailable(
                f"{error.message} (and yet there is no workflow '{name}')",
                hint="a quota of the namespace is exhausted, or the workflow has just been deleted; it is tried again",
                status=CONFLICT,
            )
        for delay in (0.0, self._settings.settle_delay):
            await asyncio.sleep(delay)
            if (found := await self._client.get(name, fields=_IDENTITY)) is not None:
                return found
        raise problem

    async def _template(self, source: object) -> JsonObject | None:
        """The template that a source names, for the names it declares; None when we may not read templates."""
        assert isinstance(source, ArgoSource)
        name = source.template or source.cluster_template
        if name is None:
            return None
        try:
            found = await self._client.template(name, cluster=source.cluster_template is not None)
        except ApiRejected as error:
            log.warning("template '%s' cannot be read, its parameter names are taken as given: %s", name, error.answer)
            return None
        if found is None:
            kind = "ClusterWorkflowTemplate" if source.cluster_template else "WorkflowTemplate"
            raise EngineRejected(
                f"engine '{self.name}' has no {kind} '{name}' (namespace '{self._settings.namespace}')",
                hint="check the name in the definition, or create the template",
            )
        return found

    async def _current(self, ref: EngineRunRef) -> JsonObject:
        found = await self._client.get(ref.name, fields=_IDENTITY)
        if found is None or text(found, "metadata", "uid") != ref.uid:
            raise EngineRunLost(
                f"engine '{self.name}': workflow '{ref.name}' ({ref.uid}) is gone and cannot be retried in place",
                hint="use retry strategy 'restart', or keep finished workflows longer (spec.ttlStrategy)",
            )
        return found

    def _may_retry(self, ref: EngineRunRef, key: RunKey, workflow: JsonObject) -> bool:
        if reading.phase(workflow) not in reading.RETRYABLE:
            return False
        end = text(workflow, "status", "finishedAt")
        seen = self._resumed.setdefault((ref.uid, str(key)), end)
        if len(self._resumed) > _FENCES:
            self._resumed.popitem(last=False)
        return seen == end

    async def _look(self, ref: EngineRunRef) -> Outcome | None:
        """Read a run if it has ended: live, else from the archive, else it is LOST."""
        workflow = await self._client.get(ref.name)
        if workflow is None or text(workflow, "metadata", "uid") != ref.uid:
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
        return outcome.model_copy(update={"artifacts": await self._artifacts(workflow)})

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
        candidates = [await self._client.get(n, fields=_IDENTITY) for n in names]
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

    async def _end(self, name: str) -> None:
        try:
            await self._client.terminate(name)
        except ApiRejected as error:
            # It ended in between, or is gone; the next look says which.
            if error.status not in (400, NOT_FOUND, CONFLICT):
                raise

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
