"""The asynchronous client."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Collection, Mapping
from pathlib import Path

from grpc import aio

from meta.api import convert
from meta.api.errors import from_problem
from meta.api.v1 import meta_pb2 as pb
from meta.client.approvals import ApprovalsClient
from meta.client.connection import CALL_TIMEOUT_S, CHECKS_TIMEOUT_S
from meta.client.events import EventsClient
from meta.client.items import ItemsClient
from meta.client.orphans import news_of
from meta.client.plans import PlanInfo, plan_of
from meta.client.retry import Patience, error_of, persist
from meta.client.schedules import SchedulesClient
from meta.client.tracing import current_trace
from meta.client.views import (
    CircuitInfo,
    EngineCheckInfo,
    EngineInfo,
    LogEntry,
    OrphanNews,
    PublishedInfo,
    RetriedRun,
    RunFailed,
    RunsPage,
    RunView,
    StartedRun,
    TraceView,
)
from meta.config import DEFAULT_GRPC
from meta.trace.context import trace_of
from workflows.bundle import Bundle, build_bundle
from workflows.errors import InputsInvalid, Problem, ServiceUnavailable
from workflows.inputs import MAX_TOTAL, MAX_VALUE
from workflows.outcome import RunState
from workflows.python_files import python_pipeline
from workflows.values import JsonObject, JsonValue

FILE_SUFFIXES = (".yaml", ".yml", ".json")


class MetaClient(ApprovalsClient, SchedulesClient, ItemsClient, EventsClient):
    """Calls the service.

    Args:
        address: host:port of the service's gRPC.
        patience_s: seconds to go on trying while the service, or Temporal behind it, does not answer. Every call may be
            repeated safely: a start carries a request id, made up when none is given.
        watch_patience_s: the same for a stream that breaks; it continues where the run is then.

    All calls raise the classes of `workflows.errors`; `ServiceUnavailable` when the patience is at its end.
    """

    def __init__(
        self, address: str = DEFAULT_GRPC, *, patience_s: float = 10.0, watch_patience_s: float = 120.0
    ) -> None:
        super().__init__(address, patience_s)
        self._watch_patience_s = watch_patience_s

    # Workflows

    async def put_bundle(self, bundle: Bundle) -> str:
        """Store a bundle; its digest names it from then on."""
        request = pb.PutBundleRequest(bundle=convert.to_bundle(bundle), digest=bundle.digest)
        reply = await persist(lambda: self._stub.PutBundle(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return reply.digest

    async def publish(self, source: str | Path | Bundle) -> PublishedInfo:
        """Publish a definition under its name, as the newest version.

        Args:
            source: the definition's file, or a bundle.

        Raises:
            DefinitionInvalid: with every problem.
        """
        digest = await self.put_bundle(await _bundle(source))
        request = pb.PublishRequest(bundle_digest=digest)
        reply = await persist(lambda: self._stub.Publish(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return _published(reply.workflow)

    async def workflows(self) -> list[PublishedInfo]:
        """The newest version of every published workflow, by name."""
        request = pb.ListWorkflowsRequest()
        reply = await persist(lambda: self._stub.ListWorkflows(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return [_published(workflow) for workflow in reply.workflows]

    async def validate(self, text: str, file: str = "") -> list[Problem]:
        """Check the text of a definition alone, without the files it names; every problem at once."""
        request = pb.ValidateRequest(source=text, file=file)
        reply = await persist(lambda: self._stub.Validate(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return [from_problem(problem) for problem in reply.problems]

    # Runs

    async def start(
        self,
        target: str | Path | Bundle,
        inputs: Mapping[str, JsonValue] | None = None,
        *,
        request_id: str = "",
        trace: Mapping[str, str] | None = None,
        no_cache: bool = False,
    ) -> StartedRun:
        """Start a run.

        Args:
            target: the name of a published workflow, a definition's file (a path, or text that ends in .yaml, .yml,
                .json or .py; `chain.py:name` for one of several), or a bundle. A file is stored, not published.
            inputs: by name; those with defaults can be left out.
            request_id: starting again with the same one gives the same run. One is made up for each call when it is
                left out, so that a call repeated after a lost answer starts no second run.
            trace: W3C trace context that the run continues: `traceparent`, `tracestate`, `baggage`; what is malformed
                is left out. By default that of the program's current OpenTelemetry span, if it has one.
            no_cache: run every step, also those whose `cache` has an earlier success.

        Raises:
            NotFound: nothing is published under the name.
            DefinitionInvalid: the file, with every problem.
            InputsInvalid: with every input that is wrong.
            Conflict: the request id has started a run with other inputs.
        """
        given = dict(inputs or {})
        _check_size(given)
        request = pb.StartRequest(
            inputs_json=convert.to_json(given), request_id=request_id or uuid.uuid4().hex, no_cache=no_cache
        )
        if isinstance(target, str) and not names_file(target):
            request.workflow = target
        else:
            request.bundle_digest = await self.put_bundle(await _bundle(target))
        metadata = aio.Metadata(*(current_trace() if trace is None else trace_of(trace)).items())
        reply = await persist(
            lambda: self._stub.Start(request, timeout=CALL_TIMEOUT_S, metadata=metadata), self._patience_s
        )
        return StartedRun(id=reply.run_id, created=reply.created, temporal_url=reply.temporal_url)

    async def plan(
        self, target: str | Path | Bundle, inputs: Mapping[str, JsonValue] | None = None, *, offline: bool = False
    ) -> PlanInfo:
        """What a start would run, without running or storing anything.

        Args:
            target: as for `start`.
            inputs: as for `start`; wrong ones are problems of the plan.
            offline: do not ask the engines.

        Raises:
            NotFound: nothing is published under the name.
            DefinitionInvalid: the file, with every problem.
        """
        request = pb.PlanRequest(inputs_json=convert.to_json(dict(inputs or {})), offline=offline)
        if isinstance(target, str) and not names_file(target):
            request.workflow = target
        else:
            request.bundle.CopyFrom(convert.to_bundle(await _bundle(target)))
        return plan_of(await persist(lambda: self._stub.Plan(request, timeout=CHECKS_TIMEOUT_S), self._patience_s))

    async def get(self, run_id: str) -> RunView:
        """A run as it is now.

        Raises:
            NotFound: there is none of this id.
        """
        request = pb.GetRequest(run_id=run_id)
        return _run(await persist(lambda: self._stub.Get(request, timeout=CALL_TIMEOUT_S), self._patience_s))

    async def list(
        self, *, workflow: str = "", state: RunState | None = None, size: int = 50, token: str = ""
    ) -> RunsPage:
        """A page of runs, newest first, without their steps."""
        request = pb.ListRequest(workflow=workflow, state=convert.to_run_state(state), page_size=size, page_token=token)
        reply = await persist(lambda: self._stub.List(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return RunsPage(runs=[_run(run) for run in reply.runs], next_token=reply.next_page_token)

    async def watch(self, run_id: str) -> AsyncGenerator[RunView]:
        """A run now, then after every change, until it has ended. A stream that breaks is taken up again.

        Raises:
            NotFound: there is none of this id.
            ServiceUnavailable: the service was away for longer than `watch_patience_s`.
        """
        patience = Patience(self._watch_patience_s)
        last: RunView | None = None
        while last is None or not last.state.ended:
            try:
                async for message in self._stub.Watch(pb.WatchRequest(run_id=run_id)):
                    patience.reset()
                    run = _run(message)
                    if run != last:
                        last = run
                        yield run
                continue
            except aio.AioRpcError as error:
                known = error_of(error)
                if not isinstance(known, ServiceUnavailable):
                    raise known from error
            await patience.rest(known)

    async def wait(self, run_id: str) -> RunView:
        """A run when it has ended, however it did."""
        last: RunView | None = None
        async for run in self.watch(run_id):
            last = run
        assert last is not None  # watch gives at least one
        return last

    async def result(self, run_id: str) -> JsonObject:
        """The outputs of a run, when it has ended.

        Raises:
            RunFailed: it did not succeed.
        """
        run = await self.wait(run_id)
        if run.state is not RunState.SUCCEEDED:
            raise RunFailed(run)
        return run.outputs

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask a run to end; its engine runs are ended first.

        Returns:
            False when it had ended already.

        Raises:
            NotFound: there is none of this id.
        """
        request = pb.CancelRequest(run_id=run_id, reason=reason)
        reply = await persist(lambda: self._stub.Cancel(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return reply.accepted

    async def retry(
        self,
        run_id: str,
        *,
        from_step: str = "",
        inputs: Mapping[str, JsonValue] | None = None,
        source: str | Path | Bundle | None = None,
        request_id: str = "",
        no_cache: bool = False,
    ) -> RetriedRun:
        """Start a run that takes the finished steps of another one over, and runs the rest.

        Args:
            run_id: of the run to retry; it has to have ended.
            from_step: runs again, and so does all that depends on it.
            inputs: those that change; the others are the run's own.
            source: a changed definition of the same workflow: its file, or a bundle. None: the run's own.
            request_id: retrying again with the same one gives the same run; as in `start`.
            no_cache: as in `start`.

        Raises:
            NotFound: no such run, or step to begin with.
            Conflict: the run has not ended.
            InvalidInput: it has succeeded, and nothing has changed.
            DefinitionInvalid: the file, with every problem.
            InputsInvalid: with every input that is wrong.
        """
        given = dict(inputs or {})
        _check_size(given)
        request = pb.RetryRequest(
            run_id=run_id,
            from_step=from_step,
            inputs_json=convert.to_json(given),
            bundle_digest="" if source is None else await self.put_bundle(await _bundle(source)),
            request_id=request_id or uuid.uuid4().hex,
            no_cache=no_cache,
        )
        metadata = aio.Metadata(*current_trace().items())
        reply = await persist(
            lambda: self._stub.Retry(request, timeout=CHECKS_TIMEOUT_S, metadata=metadata), self._patience_s
        )
        return RetriedRun(
            id=reply.run_id,
            created=reply.created,
            temporal_url=reply.temporal_url,
            taken=list(reply.taken),
            again=dict(reply.again),
        )

    async def logs(self, run_id: str, step: str = "", *, follow: bool = False) -> AsyncGenerator[LogEntry]:
        """Log lines of a step, or of all. A stream that breaks stays broken: lines have no place to go on from.

        Raises:
            NotFound: no such run or step.
            EngineUnavailable: an engine does not answer.
        """
        try:
            async for line in self._stub.Logs(pb.LogsRequest(run_id=run_id, step=step, follow=follow)):
                at = convert.from_timestamp(line.at if line.HasField("at") else None)
                yield LogEntry(step=line.step, node=line.node, text=line.text, at=at)
        except aio.AioRpcError as error:
            raise error_of(error) from error

    async def trace(self, run_id: str) -> TraceView:
        """The trace of a run: what started it, its steps and attempts, and every node of its engine runs.

        Raises:
            NotFound: there is none of this id.
        """
        # OpenTelemetry takes a while to import; other calls need none
        from meta.trace.otlp import read_resource, read_traces_data

        request = pb.TraceRequest(run_id=run_id)
        reply = await persist(lambda: self._stub.Trace(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return TraceView(
            trace_id=reply.trace_id,
            url=reply.url,
            spans=read_traces_data(reply.otlp),
            resource=read_resource(reply.otlp),
        )

    async def engines(self) -> list[EngineInfo]:
        """The configured engines, and whether they answer."""
        request = pb.EnginesRequest()
        reply = await persist(lambda: self._stub.Engines(request, timeout=CALL_TIMEOUT_S), self._patience_s)
        return [
            EngineInfo(
                name=e.name,
                kind=e.kind,
                url=e.url,
                ok=e.ok,
                version=e.version,
                message=e.message,
                hint=e.hint,
                circuits=[_circuit(circuit) for circuit in e.circuits],
                checks=tuple(
                    EngineCheckInfo(name=c.name, verdict=c.verdict, detail=c.detail, hint=c.hint) for c in e.checks
                ),
                use_cases=tuple(e.use_cases),
            )
            for e in reply.engines
        ]

    async def orphans(
        self, engine: str = "", *, terminate: bool = False, uids: Collection[str] = ()
    ) -> AsyncGenerator[OrphanNews]:
        """Engine runs that belong to no live meta-run, and running steps whose engine run is gone.

        Args:
            engine: only this one; empty: all.
            terminate: end what is found, also what the service leaves alone by itself; an `EndedOrphan` for each.
            uids: end only the engine runs of these ids; none: all that are found.

        Yields:
            What is found, engine by engine. An engine that does not answer gives an `EngineProblem`.

        Raises:
            NotFound: there is no engine of this name.
            ServiceUnavailable: the service, or Temporal behind it, does not answer.
        """
        request = pb.OrphansRequest(engine=engine, terminate=terminate, uids=uids)
        try:
            async for update in self._stub.Orphans(request):
                news = news_of(update)
                if news is not None:
                    yield news
        except aio.AioRpcError as error:
            raise error_of(error) from error


async def _bundle(source: str | Path | Bundle) -> Bundle:
    return source if isinstance(source, Bundle) else await asyncio.to_thread(build_bundle, Path(source))


def names_file(target: str) -> bool:
    """Whether a text names a definition's file, and no published workflow."""
    return target.endswith(FILE_SUFFIXES) or python_pipeline(target) is not None


def _check_size(inputs: JsonObject) -> None:
    """Refuse what the service would refuse, before it is sent.

    Raises:
        InputsInvalid: with every input that is too large.
    """
    try:
        sizes = {name: len(convert.to_json(value)) for name, value in inputs.items()}
    except (ValueError, TypeError) as error:
        raise InputsInvalid(f"the inputs are no JSON: {error}", hint="numbers must be finite, texts valid") from error
    large = [
        f"input {name!r} is {size:,} bytes; at most {MAX_VALUE:,}" for name, size in sizes.items() if size > MAX_VALUE
    ]
    if not large and sum(sizes.values()) > MAX_TOTAL:
        large = [f"the inputs are {sum(sizes.values()):,} bytes together; at most {MAX_TOTAL:,}"]
    if large:
        raise InputsInvalid("\n".join(large), hint="write large data to the object store and pass its URI")


def _run(run: pb.Run) -> RunView:
    return RunView(**dict(convert.from_run(run)), temporal_url=run.temporal_url)


def _published(workflow: pb.Workflow) -> PublishedInfo:
    published_at = convert.from_timestamp(workflow.published_at)
    assert published_at is not None  # always set
    return PublishedInfo(
        name=workflow.name,
        version=workflow.version,
        description=workflow.description,
        bundle_digest=workflow.bundle_digest,
        published_at=published_at,
        definition=convert.from_definition(workflow.definition_json),
    )


def _circuit(circuit: pb.WorkerCircuit) -> CircuitInfo:
    return CircuitInfo(
        worker=circuit.worker,
        state=circuit.state,
        since=convert.from_timestamp(circuit.since),
        reason=circuit.reason,
        retry_at=convert.from_timestamp(circuit.retry_at if circuit.HasField("retry_at") else None),
        awaited_runs=circuit.awaited_runs,
        seen_at=convert.from_timestamp(circuit.seen_at),
    )
