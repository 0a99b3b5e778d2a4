"""Decides what a request comes to: a run, the run that it started before, or an error. It knows nothing of NATS."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from meta.api.starter import Started
from meta.bridge.parameters import inputs_of, names_of
from meta.bridge.request import Request, read
from meta.bridge.status import BridgeStatus, context_of, end_of, id_fault, status, status_subject
from meta.config import BridgeConfig, BridgedPipeline
from meta.store import Store
from meta.store.event_tables import TriggerEventRow
from meta.trace.context import trace_of
from meta.triggers.asking import Ask
from meta.triggers.event import Event, identity_of
from meta.triggers.intake import Intake
from workflows.errors import Conflict, InputsInvalid, InvalidInput, MetaError, NotFound
from workflows.outcome import RunState
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

SOURCE = "bridge"
"""Of runs and of what is written down of requests."""
FORMAT = "bridge"
"""Of the statuses of a run; see `meta.events.bridge_format`."""

_SKEW = timedelta(seconds=5)  # between our clock and that of NATS


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as it came.

    Attributes:
        sent: when the server stored it, or when it reached us.
        deliveries: how often it was delivered, this time included.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    sent: datetime = field(default_factory=lambda: datetime.now(UTC))
    deliveries: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told.

    Attributes:
        statuses: in order; the first is the answer to the request itself.
        subject: where they go; empty where the request has no id that could stand in one.
        private: goes to the requester's reply subject alone where it has one: another's request has the same id.
    """

    request: Request
    statuses: Sequence[JsonObject]
    subject: str
    private: bool = False


Tell = Callable[[Answer], Awaitable[None]]
"""Publishes an answer; what cannot be published now is logged, and lost."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A start that a request asks for.

    Attributes:
        context: for the format of its statuses.
        engines: of the steps, in order.
    """

    ask: Ask
    event: Event
    context: JsonObject
    engines: Sequence[str]


class Desk:
    """Takes requests in; any number of desks on one store give one run for each request id.

    Args:
        config: subjects and catalogue.
        max_bytes: a larger message is not read.
        intake: starts runs.
        store: knows what was asked before.
    """

    def __init__(self, config: BridgeConfig, max_bytes: int, intake: Intake, store: Store) -> None:
        self._config = config
        self._max_bytes = max_bytes
        self._intake = intake
        self._store = store

    def read(self, data: bytes) -> Request:
        """Read a request; one whose id cannot stand in a status subject has a fault."""
        request = read(data, self._max_bytes)
        fault = id_fault(self._config.status, request.request_id) if request.request_id else ""
        if not fault:
            return request
        return Request(request.encoding, "", request.pipeline, request.parameters, fault=fault)

    async def answer(self, request: Request, mail: Mail, tell: Tell, *, late: bool = False) -> None:
        """Start the run that a request wants, or say why not.

        Args:
            request: as `read` gave it.
            mail: the message that it came in.
            tell: called at most once.
            late: it was read from the stream, so somebody may have answered this message, and be about to write that
                down: who starts a run says so, and nobody else.

        Raises:
            MetaError: one that is retryable: Temporal or the store does not answer, and nothing has been told.
        """
        if request.fault:
            await self.refuse(request, mail, InvalidInput(request.fault), tell)
            return
        try:
            if (earlier := await self._earlier(request)) is not None:
                if not (late and _settled_since(earlier, mail)):
                    await self._again(request, earlier, tell)
            else:
                await self._start(request, mail, tell, late=late)
        except Conflict as error:
            await tell(await self._refusal(request, mail, error, _other_content(request), private=True))
        except MetaError as error:
            if error.retryable:
                raise
            await self.refuse(request, mail, error, tell)

    async def refuse(self, request: Request, mail: Mail, error: MetaError, tell: Tell) -> None:
        """Say why a request starts nothing, and put it aside for people to look at.

        Raises:
            ServiceUnavailable: the store does not answer; the request must not be let go.
        """
        await tell(await self._refusal(request, mail, error, _identity(request, mail)))

    async def answered(self, request: Request, mail: Mail) -> bool:
        """Whether somebody has answered this very message, so that it can be let go.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        identities = [_identity(request, mail), _other_content(request)]
        rows = await self._store.triggers.find_among(self._workflows(), identities)
        return any(row.digest == request.digest and _settled_since(row, mail) for row in rows)

    def error(self, request: Request, message: str) -> Answer:
        """An error that is nobody's to look at later."""
        return Answer(request, [self._status(BridgeStatus.ERROR, request, message=message)], self._subject(request))

    def waiting(self, request: Request) -> Answer:
        """That a request is kept, told to the requester alone: on the status subject, `submitted` comes first."""
        message = "the request is kept and will be started later"
        return Answer(request, [self._status(BridgeStatus.PENDING, request, message=message)], subject="")

    async def _earlier(self, request: Request) -> TriggerEventRow | None:
        """What is known of the run that this request started before.

        Raises:
            Conflict: another request with this id did.
        """
        identity = identity_of(SOURCE, request.request_id)
        rows = await self._store.triggers.find_among(self._workflows(), [identity])
        started = [row for row in rows if row.outcome == "started"]
        if same := [row for row in started if row.digest == request.digest]:
            return same[0]
        if started:
            raise Conflict(
                f"request_id '{request.request_id}' was used for another request, which started {started[0].run_id}",
                hint="give every request an id of its own",
            )
        return None

    async def _again(self, request: Request, earlier: TriggerEventRow, tell: Tell) -> None:
        await self._store.triggers.again(earlier.workflow, earlier.identity)
        await tell(await self._known(request, earlier.run_id or ""))

    async def _start(self, request: Request, mail: Mail, tell: Tell, *, late: bool) -> None:
        wanted = await self.wanted(request, mail)

        async def accepted(new: Started) -> None:  # first of all: the run's own statuses come by another way
            first = self._submitted(request, new.run_id, f"started run {new.run_id}", wanted.engines)
            await tell(Answer(request, [first], self._subject(request)))

        started = await self._intake.start(
            wanted.ask,
            [wanted.event],
            source=SOURCE,
            reply_format=FORMAT,
            context=wanted.context,
            accepted=accepted,
        )
        if not started.created and not late:
            await tell(await self._known(request, started.run_id))

    async def wanted(self, request: Request, mail: Mail) -> Wanted:
        """What a request without a fault asks for.

        Raises:
            NotFound: the catalogue has no such name, or what it names is not published.
            InputsInvalid: the parameters do not fit.
            UseCaseUnsettled: a step's use case has no engine that it can run on.
            ServiceUnavailable: the store does not answer.
        """
        bridged, definition = await self._meant(request)
        inputs = inputs_of(definition, request.parameters, bridged.inputs)
        engines = [step.engine for step in self._intake.settled(definition).steps.values()]
        event = _event(request, mail, identity_of(SOURCE, request.request_id))
        ask = Ask(
            workflow=bridged.workflow,
            trigger="",
            identity=event.identity,
            digest=event.digest,
            inputs=inputs,
            reply=self._subject(request),
            trace=event.trace,
        )
        return Wanted(ask, event, context_of(request, bridged.engine, engines), engines)

    async def _meant(self, request: Request) -> tuple[BridgedPipeline, MetaWorkflow]:
        """The catalogue's entry and the newest version of its workflow.

        Raises:
            NotFound: the catalogue has no such name, or what it names is not published.
            InputsInvalid: the catalogue names inputs that the workflow has not.
        """
        bridged = self._config.pipelines.get(request.pipeline)
        if bridged is None:
            raise NotFound(names_of(self._config.pipelines, request.pipeline))
        try:
            newest = await self._store.workflows.newest(bridged.workflow)
        except NotFound as error:
            raise NotFound(f"pipeline '{request.pipeline}' is not ready: {error.message}", hint=error.hint) from error
        definition = (await self._store.bundles.get(newest.bundle_digest)).definition
        if strange := [name for name in bridged.inputs if name not in definition.inputs]:
            raise InputsInvalid(
                f"pipeline '{request.pipeline}' is not set up: workflow '{bridged.workflow}' has no input"
                f" {', '.join(strange)}",
                hint="mend triggers.bridge.pipelines in meta.toml",
            )
        return bridged, definition

    async def _known(self, request: Request, run_id: str) -> Answer:
        """Of a run that has ended since nobody will tell any more, so that is said at once."""
        known = (await self._store.runs.get_many([run_id])).get(run_id)
        run = known[1] if known is not None else None
        engines = [step.engine for step in run.steps] if run is not None else []
        statuses = [self._submitted(request, run_id, f"run {run_id} was started by this request before", engines)]
        if run is not None and (end := end_of(run.state, run.message)) is not None:
            last = self._status(end[0], request, engines=engines, run_id=run_id, message=end[1])
            if run.state is RunState.SUCCEEDED:
                last["outputs"] = run.outputs
            statuses.append(last)
        return Answer(request, statuses, self._subject(request))

    def _submitted(self, request: Request, run_id: str, message: str, engines: Sequence[str]) -> JsonObject:
        return self._status(BridgeStatus.SUBMITTED, request, engines=engines, run_id=run_id, message=message)

    async def _refusal(
        self, request: Request, mail: Mail, error: MetaError, identity: str, *, private: bool = False
    ) -> Answer:
        bridged = self._config.pipelines.get(request.pipeline)
        workflow = bridged.workflow if bridged else ""
        await self._intake.bury(_event(request, mail, identity), workflow, "", error, SOURCE)
        text = f"{error.message} ({error.hint})" if error.hint else error.message
        statuses = [self._status(BridgeStatus.ERROR, request, message=text)]
        return Answer(request, statuses, self._subject(request), private)

    def _status(
        self, state: BridgeStatus, request: Request, *, engines: Sequence[str] = (), run_id: str = "", message: str = ""
    ) -> JsonObject:
        bridged = self._config.pipelines.get(request.pipeline)
        engine = bridged.engine if bridged and bridged.engine else next((e for e in engines if e), "")
        return status(
            state,
            request_id=request.request_id,
            pipeline=request.pipeline,
            engine=engine,
            run_id=run_id,
            message=message,
        )

    def _subject(self, request: Request) -> str:
        return status_subject(self._config.status, request.request_id) if request.request_id else ""

    def _workflows(self) -> list[str]:
        """Under which what is known of requests stands; the empty name is of those that named no pipeline there is."""
        return ["", *{bridged.workflow for bridged in self._config.pipelines.values()}]


def _settled_since(row: TriggerEventRow, mail: Mail) -> bool:
    """Whether what is known of a request is of this message, or of a later one."""
    return (row.updated_at or row.received_at) >= mail.sent - _SKEW


def _identity(request: Request, mail: Mail) -> str:
    """Who a request is: its id; for want of one, its bytes."""
    if request.request_id:
        return identity_of(SOURCE, request.request_id)
    return f"{SOURCE}:message:{hashlib.sha256(mail.data).hexdigest()}"


def _other_content(request: Request) -> str:
    """Who a request is that has another's id."""
    return identity_of(SOURCE, f"{request.request_id}:{request.digest}")


def _event(request: Request, mail: Mail, identity: str) -> Event:
    headers = {name.lower(): value for name, value in mail.headers.items()}
    return Event(
        subject=mail.subject,
        data=request.content,
        identity=identity,
        id=request.request_id,
        headers=mail.headers,
        time=mail.sent,
        trace=trace_of(headers),
        raw=mail.data,
        deliveries=mail.deliveries,
        stored=mail.sent,
    )
