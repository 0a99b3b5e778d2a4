"""One Workflow for each key. A Workflow's name is unique in its namespace, until its deletion frees the name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from workers.engines.argo import outcome as reading
from workers.engines.argo.client import ArgoClient
from workers.engines.argo.manifest import run_identity
from workers.engines.base import Submission
from workers.engines.fencing import Fence, Try
from workers.engines.json_view import text
from workers.engines.others import Other, Others
from workers.http import CONFLICT, NOT_FOUND, ApiRejected, ApiUnavailable
from workflows.errors import EngineRunForeign
from workflows.naming import key_of_name
from workflows.outcome import EngineRunRef
from workflows.values import JsonObject

IDENTITY = "metadata,spec.shutdown,status.phase,status.startedAt,status.finishedAt"
"""Fields that say whose a Workflow is and how far it is."""


class ArgoAdopter:
    """Looks a Workflow up by its name, and in the archive, before it is created; by its name afterwards.

    Args:
        namespace: for messages.
        client: of the server.
        fence: keeps the tries of a key apart.
        body: makes the Workflow.
        ref: makes the reference of a Workflow.
    """

    def __init__(
        self,
        namespace: str,
        client: ArgoClient,
        fence: Fence,
        body: Callable[[Submission], Awaitable[JsonObject]],
        ref: Callable[[JsonObject], EngineRunRef],
    ) -> None:
        self._namespace = namespace
        self._client = client
        self._fence = fence
        self._body = body
        self._ref = ref
        self.others = Others(fence.keeper, self._end)

    async def submit(self, submission: Submission) -> EngineRunRef:
        """Adopt the Workflow of a submission, creating it if there is none.

        Raises:
            EngineRunForeign: a Workflow of this name carries another key or digest.
            EngineUnavailable: no answer, or another try is at it.
            EngineRejected: refused.
        """
        async with self._fence.hold(submission.key) as this:
            body: JsonObject | None = None
            async with this.preparing():
                found = await self._find(submission, this)
                if found is None:
                    body = await self._body(submission)
            if body is not None:
                async with this.creating() as send_by:
                    found = await self._create(submission.name, body, this, send_by)
        assert found is not None  # found, or created
        key, digest = run_identity(found)
        if (key, digest) != (str(submission.key), submission.spec_digest):
            raise EngineRunForeign(
                f"engine '{self._fence.engine}': workflow '{submission.name}' in namespace '{self._namespace}' is not "
                f"ours: it carries key '{key}' and digest '{digest}', not '{submission.key}' and "
                f"'{submission.spec_digest}'",
                hint=f"look at it (argo get {submission.name}); delete it if it is a leftover, then start a new run",
            )
        return self._ref(found)

    async def end_other(self, ref: EngineRunRef, other: JsonObject | None) -> None:
        """End a Workflow that took the name of an adopted one after that was deleted: a create that came very late.

        Args:
            ref: of the adopted one.
            other: what has its name now; nothing happens if that is not ours, or has ended.

        Raises:
            EngineUnavailable: the server does not answer.
        """
        first: list[JsonObject | None] = [other]

        async def look() -> list[Other]:
            found = first.pop() if first else await self._client.get(ref.name, fields=IDENTITY)
            if found is None or reading.has_ended(found):
                return []
            key = key_of_name(ref.name, run_identity(found)[0])
            taken = self._ref(found)
            return [] if key is None or taken.uid == ref.uid else [Other(key, taken, reading.was_shut_down(found))]

        await self.others.end_all(ref, look)

    async def _find(self, submission: Submission, this: Try) -> JsonObject | None:
        """The Workflow by its name; if an earlier try may have made one, of those in the archive too the oldest.

        Reading by name falls back to the archive in servers from 3.5 on (getWorkflow in workflow_server.go), but shows
        what has the name now before what had it: a create that came late, after the first one's time to live.
        """
        found = await self._client.get(submission.name, fields=IDENTITY)
        if not this.tried:
            return found
        archived = await self._client.archived_run(submission.key.hash)
        ours = [one for one in archived if run_identity(one)[0] == str(submission.key)]
        if not ours:
            return found
        if found is None:
            return ours[0]
        oldest = min(ours[0], found, key=lambda one: text(one, "metadata", "creationTimestamp"))
        if oldest is not found and run_identity(found)[0] == str(submission.key) and not reading.has_ended(found):
            stays, other = self._ref(oldest), self._ref(found)
            if stays.uid != other.uid:
                await this.check()  # a straggler must not end what a later try has adopted
                await self.others.tell(stays, [Other(submission.key, other, reading.was_shut_down(found))])
        return oldest

    async def _create(self, name: str, workflow: JsonObject, this: Try, send_by: float) -> JsonObject:
        """Create, and look again when the answer leaves open whether it was created.

        409 comes for a taken name and for some quota refusals alike, so the name is looked up after it too.
        """
        try:
            return await self._client.create(workflow, send_by=send_by)
        except ApiUnavailable as error:
            problem = error
        except ApiRejected as error:
            if error.status != CONFLICT:
                raise
            problem = ApiUnavailable(
                f"{error.message} (and yet there is no workflow '{name}')",
                hint="a quota of the namespace is exhausted, or the workflow has just been deleted; it is tried again",
                status=CONFLICT,
            )
        return await this.after_doubt(lambda: self._client.get(name, fields=IDENTITY), problem)

    async def _end(self, ref: EngineRunRef) -> None:
        try:
            await self._client.terminate(ref.name)
        except ApiRejected as error:
            # It ended in between, or is gone; the next look says which.
            if error.status not in (400, NOT_FOUND, CONFLICT):
                raise
