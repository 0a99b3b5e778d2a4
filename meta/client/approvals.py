"""The client's calls about approvals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from meta.client.connection import CALL_TIMEOUT_S, Connection
from meta.client.retry import persist
from meta.client.views import DecidedInfo, WaitingApproval
from workflows.outcome import RunState, StepState

_AT_ONCE = 8
_PAGE = 500


class ApprovalsClient(Connection):
    """Part of `meta.client.MetaClient`."""

    async def decide(
        self, run_id: str, approve: bool, *, by: str, step: str = "", reason: str = "", digest: str = ""
    ) -> DecidedInfo:
        """Approve or reject what a run asks. To decide the same again is fine.

        Args:
            run_id: of the run.
            approve: False rejects.
            by: who decides; the service believes it.
            step: may be left out when the run waits for one approval only.
            reason: stands with the decision.
            digest: of what was seen (`StepSnapshot.asked.digest`): refused when the step asks for something else.

        Raises:
            NotFound: no such run, or no such approval in it.
            NotAllowed: the step names approvers, and these are others.
            Conflict: the step does not wait, asks for something else, or is decided otherwise.
            ServiceUnavailable: no worker runs that could take it.
        """
        request = pb.DecideRequest(run_id=run_id, step=step, approve=approve, by=by, reason=reason, digest=digest)
        reply = await persist(lambda: self._stub.Decide(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return DecidedInfo(step=reply.step, decision=convert.from_decision(reply.decision), decided=reply.decided)

    async def approvals(self, workflow: str = "") -> AsyncGenerator[WaitingApproval]:
        """Approvals that running runs wait for, the newest run's first.

        Args:
            workflow: only of this one's runs.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def waiting(run_id: str) -> list[WaitingApproval]:
            request = pb.GetRequest(run_id=run_id)
            async with slots:
                found = await persist(lambda: self._stub.Get(request, timeout=CALL_TIMEOUT_S), self._patience_s)
            return [
                WaitingApproval(
                    run=run_id, workflow=found.workflow, step=step.name, asked=step.asked, since=step.started_at
                )
                for step in convert.from_run(found).steps
                if step.asked is not None and step.state is StepState.RUNNING
            ]

        request = pb.ListRequest(workflow=workflow, state=convert.to_run_state(RunState.RUNNING), page_size=_PAGE)
        while True:
            page = await persist(lambda: self._stub.List(request, timeout=CALL_TIMEOUT_S), self._patience_s)
            for found in await asyncio.gather(*(waiting(run.id) for run in page.runs)):
                for one in found:
                    yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
