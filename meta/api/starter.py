"""Starts meta-runs, once for each request: for gRPC's Start and for triggers."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from meta.api.temporal import TemporalRuns
from meta.store import Store
from meta.store.runs import RequestedRun
from workers.log_context import note_run
from workflows.board import first_steps
from workflows.errors import Conflict, InvalidInput, NotFound, ServiceUnavailable, UseCaseUnsettled
from workflows.messages import Cause, Reused, RunSnapshot
from workflows.naming import request_run_id
from workflows.spec.models import MetaWorkflow
from workflows.starts import RunMemo, first_snapshot, make_start
from workflows.use_cases import UseCases
from workflows.values import JsonObject, canonical_json, digest_of

log = logging.getLogger(__name__)

NO_USE_CASES = UseCases()
MAX_REQUEST_ID = 512  # characters
MAX_DEFINITIONS = 100  # that are kept at hand


@dataclass(frozen=True, slots=True)
class Started:
    """`created` is False when the request had started its run before."""

    run_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class Retrying:
    """The run that a new one retries, and the steps that it takes over from it."""

    run_id: str
    reuse: Mapping[str, Reused]


Accepted = Callable[[Started], Awaitable[None]]
"""Hears that Temporal has accepted a run, which is not written down yet."""


def new_run_id(workflow: str) -> str:
    """A fresh id; ids of one workflow sort by time."""
    return f"{workflow}-{time.time_ns() // 1_000_000:011x}{secrets.token_hex(3)}"


class Starter:
    """Temporal first, then the store: a crash between the two is healed by the next call, or by the worker.

    Args:
        store: of the service.
        temporal: where runs are started.
        use_cases: which engine each use case goes to.
    """

    def __init__(self, store: Store, temporal: TemporalRuns, use_cases: UseCases = NO_USE_CASES) -> None:
        self._store = store
        self._temporal = temporal
        self.use_cases = use_cases
        self._definitions: dict[str, MetaWorkflow] = {}

    async def start(
        self,
        *,
        workflow: str = "",
        bundle_digest: str = "",
        inputs: JsonObject,
        request_id: str = "",
        trigger: str,
        asked: str = "",
        trace: Mapping[str, str] | None = None,
        cause: Cause | None = None,
        accepted: Accepted | None = None,
        retrying: Retrying | None = None,
        no_cache: bool = False,
    ) -> Started:
        """Start a run, or find the one that this request started.

        Args:
            workflow: a published name, or
            bundle_digest: a stored bundle.
            inputs: as given; defaults are filled in here.
            request_id: identity of the request; empty starts a new run each time.
            trigger: what asks: `api`, `nats`, `bridge`.
            asked: digest of what is asked for, which a repeat of the request must share; by default the inputs'. For a
                message that of its data: the expressions that make inputs of it may change between two deliveries.
            trace: W3C trace context of the cause.
            cause: what made the run start, for its trace.
            accepted: told of a new run before anybody is told of its events.
            retrying: which run it retries; None: none.
            no_cache: earlier successes are not taken in place of steps that have a `cache`.

        Raises:
            NotFound: no such workflow or bundle.
            InputsInvalid: with every input that is wrong.
            UseCaseUnsettled: a step's use case has no engine that it can run on.
            Conflict: the request id started a run with other inputs, or of another bundle.
            ServiceUnavailable: Temporal or the store does not answer; the same request can be made again.
        """
        if bool(workflow) == bool(bundle_digest):
            raise InvalidInput("name either a workflow or a bundle digest", hint="exactly one of the two")
        if len(request_id) > MAX_REQUEST_ID:
            raise InvalidInput(f"the request id has more than {MAX_REQUEST_ID} characters", hint="use a shorter one")
        by_name = bool(workflow)
        inputs_digest = asked or digest_of(canonical_json(inputs))
        newest = ""
        if by_name and request_id:
            # what was published since must not change an earlier request
            known, newest = await self._store.runs.requested_or_newest(workflow, request_id)
            if known is not None:
                memo = RunMemo(workflow=workflow, inputs_digest=inputs_digest, bundle_digest="", request_id=request_id)
                return _repeated(memo, known)
        # `newest` names what is close to a name that nothing is published under
        digest = bundle_digest or newest or (await self._store.workflows.newest(workflow)).bundle_digest
        definition = await self._definition(digest)
        name = definition.name
        memo = RunMemo(
            workflow=name,
            inputs_digest=inputs_digest,
            bundle_digest="" if by_name else digest,
            request_id=request_id,
            trigger=trigger,
        )
        if not by_name and (known := await self._known(memo)) is not None:
            return known
        argument = make_start(
            definition,
            digest,
            inputs,
            use_cases=self.use_cases,
            request_id=request_id,
            trigger=trigger,
            trace=trace,
            cause=cause,
            retry_of=retrying.run_id if retrying is not None else "",
            reuse=retrying.reuse if retrying is not None else None,
            no_cache=no_cache,
        )
        run_id = request_run_id(name, request_id) if request_id else new_run_id(name)
        note_run(run_id, argument.trace)
        created = await self._temporal.start(run_id, argument, memo.model_copy(update={"bundle_digest": digest}))
        if created:
            if accepted is not None:
                await accepted(Started(run_id, created))
            first = first_snapshot(run_id, argument, datetime.now(UTC))
            await self._write(first, inputs_digest, argument.definition)
        else:
            await self._heal(run_id, memo)
        return Started(run_id, created)

    def settled(self, definition: MetaWorkflow) -> MetaWorkflow:
        """A definition as a run would have it that was started now.

        Raises:
            UseCaseUnsettled: a step's use case has no engine that it can run on.
        """
        return self.use_cases.settle(definition).definition

    async def _definition(self, digest: str) -> MetaWorkflow:
        """The definition of a bundle; those of late are at hand, for what has a digest never changes."""
        if digest not in self._definitions:
            self._definitions[digest] = (await self._store.bundles.get(digest)).definition
            if len(self._definitions) > MAX_DEFINITIONS:
                del self._definitions[next(iter(self._definitions))]  # the one that was read first
        return self._definitions[digest]

    async def _known(self, memo: RunMemo) -> Started | None:
        """The run that the store knows for this request."""
        known = await self._store.runs.requested(memo.workflow, memo.request_id) if memo.request_id else None
        return _repeated(memo, known) if known is not None else None

    async def _heal(self, run_id: str, memo: RunMemo) -> None:
        """Temporal has the run and the store does not: make sure that it is this request's, and write it down."""
        first = await self._temporal.memo(run_id)
        if first.request_id != memo.request_id:
            raise Conflict(
                f"run {run_id} belongs to another request id, {first.request_id!r}", hint="use another request id"
            )
        _compare(memo, first.inputs_digest, first.bundle_digest)
        await self.adopt(run_id)

    async def find(self, run_id: str) -> RunSnapshot:
        """A run from the store, or, when the store was not told of it, from Temporal.

        Raises:
            NotFound: neither has it.
        """
        try:
            return await self._store.runs.get(run_id)
        except NotFound:
            await self.adopt(run_id)
            return await self._store.runs.get(run_id)

    async def adopt(self, run_id: str) -> None:
        """Write down a run that Temporal has and the store was not told of.

        Raises:
            NotFound: Temporal has no such meta-run, or the store has not its bundle.
        """
        memo, run = await self._temporal.memo(run_id), await self._temporal.look(run_id)
        definition = (await self._store.bundles.get(run.bundle_digest)).definition
        if not run.steps:
            try:  # what it was settled to stands in its argument; until a worker tells, the table is the best guess
                definition = self.settled(definition)
            except UseCaseUnsettled:
                pass
            run = run.model_copy(update={"steps": first_steps(definition)})
        await self._write(run, memo.inputs_digest, definition)

    async def _write(self, snapshot: RunSnapshot, inputs_digest: str, definition: MetaWorkflow) -> None:
        try:
            # A namespace's name can come again with another Temporal behind it; its id does not.
            namespace = await self._temporal.namespace_id()
            snapshot = snapshot.model_copy(update={"temporal_namespace": namespace})
            await self._store.runs.create(snapshot, inputs_digest, definition)
        except ServiceUnavailable as error:
            # Temporal has accepted, so the run goes on: the worker's records and the next look fill the row in.
            log.warning("run %s started, but the store did not take it: %s", snapshot.id, error)


def _repeated(memo: RunMemo, known: RequestedRun) -> Started:
    """The run that an earlier one of the same request has started."""
    _compare(memo, known.inputs_digest, known.bundle_digest)
    return Started(known.run_id, created=False)


def _compare(memo: RunMemo, first_inputs: str, first_bundle: str) -> None:
    """The same request must ask for the same. A start by name does not say which bundle, so any version is fine.

    Raises:
        Conflict: it does not.
    """
    other_bundle = bool(memo.bundle_digest) and memo.bundle_digest != first_bundle
    what = "other inputs" if memo.inputs_digest != first_inputs else "another definition" if other_bundle else ""
    if what:
        raise Conflict(
            f"request id {memo.request_id!r} has started a run of {memo.workflow} with {what}",
            hint="a new run needs a request id of its own; repeat the old one only with what it was first used for",
        )
