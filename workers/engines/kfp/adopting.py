"""One KFP run for each key, on a server that makes a run for every request and lets a display name be given twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from workers.engines.base import Submission
from workers.engines.fencing import Fence, Try
from workers.engines.json_view import text
from workers.engines.kfp import outcome as reading
from workers.engines.kfp.client import KfpClient, one_of
from workers.engines.kfp.identity import identity_of
from workers.engines.others import Other, Others
from workers.http import CONFLICT, NOT_FOUND, ApiRejected, ApiUnavailable
from workflows.errors import EngineRunForeign
from workflows.naming import key_of_name
from workflows.outcome import EngineRunRef
from workflows.values import JsonObject

_CANCELING = "CANCELING"


class KfpAdopter:
    """Looks a run up by its name before and after it is created; of several the oldest stays.

    Args:
        client: of the API server.
        fence: keeps the tries of a key apart.
        body: makes the body of a run.
        ref: makes the reference of a run.
    """

    def __init__(
        self,
        client: KfpClient,
        fence: Fence,
        body: Callable[[Submission], Awaitable[JsonObject]],
        ref: Callable[[JsonObject], EngineRunRef],
    ) -> None:
        self._client = client
        self._fence = fence
        self._body = body
        self._ref = ref
        self.others = Others(fence.keeper, self._end)

    async def submit(self, submission: Submission) -> EngineRunRef:
        """Adopt the run of a submission, creating it if there is none.

        Raises:
            EngineRunForeign: a run of this name carries another key or digest.
            EngineUnavailable: no answer, or another try is at it.
            EngineRejected: refused.
        """
        async with self._fence.hold(submission.key) as this:
            async with this.preparing():
                if (found := await self._adopt(submission, this)) is not None:
                    return self._ref(found)
                body = await self._body(submission)
            async with this.creating() as send_by:
                run = await self._create(submission, body, this, send_by)
            # A run that another try has made meanwhile would show now; the older one stays.
            return self._ref(await self._adopt(submission, this) or run)

    async def end_others(self, ref: EngineRunRef) -> None:
        """End the runs that share the name and the key of an adopted run, those of a request that came late too.

        Raises:
            EngineUnavailable: the server does not answer.
        """
        await self.others.end_all(ref, lambda: self._beside(ref))

    async def with_others(self, refs: Sequence[EngineRunRef]) -> list[EngineRunRef]:
        """Those of some adopted runs, at most a page of them, that have others beside them; one list for all.

        Raises:
            EngineUnavailable: the server does not answer.
        """
        named: dict[str, list[JsonObject]] = {}
        async for run in self._client.runs(filter=one_of("display_name", list({ref.name for ref in refs}))):
            named.setdefault(text(run, "display_name"), []).append(run)
        return [ref for ref in refs if self._others_in(ref, named.get(ref.name, []))]

    async def _beside(self, ref: EngineRunRef) -> list[Other]:
        return self._others_in(ref, await self._client.runs_named(ref.name))

    def _others_in(self, ref: EngineRunRef, named: Sequence[JsonObject]) -> list[Other]:
        """Runs beside an adopted one that have not ended; what does not carry the key of its name is not ours."""
        return [
            Other(key, self._ref(run), told=reading.state(run) == _CANCELING)
            for run in named
            if text(run, "run_id") != ref.uid
            and not reading.has_ended(run)
            and (key := key_of_name(ref.name, identity_of(run).key)) is not None
        ]

    async def _create(self, submission: Submission, body: JsonObject, this: Try, send_by: float) -> JsonObject:
        """Create, and look again when the answer leaves open whether a run was created.

        The server makes the Argo Workflow first and its row afterwards, so a list right after the answer can lack it.
        """
        try:
            return await self._client.create_run(body, send_by=send_by)
        except ApiUnavailable as error:
            problem = error
        except ApiRejected as error:
            if error.status != CONFLICT:
                raise
            problem = ApiUnavailable(error.message, status=CONFLICT, hint="it is tried again")
        return await this.after_doubt(lambda: self._adopt(submission, this), problem)

    async def _adopt(self, submission: Submission, this: Try) -> JsonObject | None:
        """The run of a submission, if there is one: the oldest; what else carries its key is ended.

        Raises:
            EngineRunForeign: a run of this name carries another key or digest.
        """
        named = await self._client.runs_named(submission.name)
        ours = [run for run in named if identity_of(run).key == str(submission.key)]
        if not ours:
            if named:
                raise self._foreign(submission, named[0])
            return None
        oldest, *younger = ours
        if identity_of(oldest).digest != submission.spec_digest:
            raise self._foreign(submission, oldest)
        if others := [Other(submission.key, self._ref(run)) for run in younger if not reading.has_ended(run)]:
            await this.check()  # a straggler must not end what a later try has adopted
            await self.others.tell(self._ref(oldest), others)
        return oldest

    def _foreign(self, submission: Submission, run: JsonObject) -> EngineRunForeign:
        found = identity_of(run)
        return EngineRunForeign(
            f"engine '{self._fence.engine}': run {text(run, 'run_id')} is called '{submission.name}', but it carries "
            f"key '{found.key}' and digest '{found.digest}', not '{submission.key}' and '{submission.spec_digest}'",
            hint="look at it in the KFP UI; delete it if it is a leftover, then start a new run",
        )

    async def _end(self, ref: EngineRunRef) -> None:
        try:
            await self._client.terminate(ref.uid)
        except ApiRejected as error:
            # It ended in between, is ending already, or is gone; the next look says which.
            if error.status not in (400, NOT_FOUND, CONFLICT):
                raise
