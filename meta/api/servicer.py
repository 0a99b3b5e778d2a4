"""`meta.v1.MetaService`: what the calls mean is in the modules beside this one; here they meet the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.approval_calls import ApprovalCalls
from meta.api.backfill_calls import BackfillCalls
from meta.api.calls import call_of
from meta.api.engines import Engines, LogReader
from meta.api.errors import to_problem
from meta.api.events import DEFAULT_PAGE, MAX_PAGE, EventCalls
from meta.api.feed import RunFeed
from meta.api.item_calls import ItemCalls
from meta.api.orphan_messages import to_update
from meta.api.orphans import OrphanFinder
from meta.api.plan_calls import PlanCalls
from meta.api.planner import Planner
from meta.api.retry_calls import RetryCalls
from meta.api.retrying import Retrier
from meta.api.schedule_calls import ScheduleCalls
from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.api.v1 import meta_pb2 as pb
from meta.config import TelemetryConfig
from meta.schedules.runtime import Schedules
from meta.store import Store
from meta.store.bundles import PublishedWorkflow
from meta.store.circuits import WorkerCircuit
from meta.trace.otlp import resource_of, to_traces_data
from meta.trace.record import RunRecord
from meta.trace.spans import run_spans
from meta.triggers.replay import Replayer
from workflows.bundle import validate_bundle
from workflows.errors import BundleInvalid, DefinitionInvalid, InvalidInput
from workflows.messages import RunSnapshot
from workflows.spec import load_definition
from workflows.trace import trace_id

_Context = aio.ServicerContext[Message, Message]


class MetaServicer(PlanCalls, RetryCalls, ApprovalCalls, ScheduleCalls, BackfillCalls, EventCalls, ItemCalls):
    """Errors are raised as `MetaError`; `meta.api.interceptor` gives them their status.

    `published` is told when what is published has changed.
    """

    def __init__(
        self,
        store: Store,
        temporal: TemporalRuns,
        *,
        starter: Starter,
        feed: RunFeed,
        engines: Engines,
        orphans: OrphanFinder,
        replayer: Replayer,
        schedules: Schedules,
        retrier: Retrier,
        nats: bool,
        telemetry: TelemetryConfig | None = None,
        published: Callable[[], None] = lambda: None,
    ) -> None:
        self._published = published
        self._orphans = orphans
        self._replayer = replayer
        self._schedules = schedules
        self._retrier = retrier
        self._nats = nats
        self._telemetry = telemetry or TelemetryConfig()
        self._store = store
        self._temporal = temporal
        self._starter = starter
        self._feed = feed
        self._engines = engines
        self._logs = LogReader(store, engines, feed)
        self._planner = Planner(store, engines, starter.use_cases)

    # Bundles and workflows

    async def PutBundle(self, request: pb.PutBundleRequest, context: _Context) -> pb.PutBundleResponse:
        bundle = convert.from_bundle(request.bundle)
        if problems := validate_bundle(bundle):
            raise DefinitionInvalid(problems)
        if request.digest and request.digest != bundle.digest:
            raise BundleInvalid(
                f"the bundle has the digest {bundle.digest}, not {request.digest} as the request says",
                hint="the client and the service may be of different versions; leave the digest out",
            )
        return pb.PutBundleResponse(digest=bundle.digest, created=await self._store.bundles.put(bundle))

    async def Publish(self, request: pb.PublishRequest, context: _Context) -> pb.PublishResponse:
        workflow = await self._store.workflows.publish(request.bundle_digest)
        self._published()
        return pb.PublishResponse(workflow=_workflow(workflow))

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: _Context) -> pb.ListWorkflowsResponse:
        return pb.ListWorkflowsResponse(workflows=[_workflow(w) for w in await self._store.workflows.list()])

    async def Validate(self, request: pb.ValidateRequest, context: _Context) -> pb.ValidateResponse:
        if request.HasField("bundle") == bool(request.source):
            raise InvalidInput("give either a bundle or a source", hint="exactly one of the two")
        try:
            if request.HasField("bundle"):
                problems = validate_bundle(convert.checked_bundle(request.bundle))
            else:
                load_definition(request.source, request.file)
                problems = []
        except DefinitionInvalid as error:
            problems = list(error.problems)
        return pb.ValidateResponse(problems=[to_problem(problem) for problem in problems])

    # Runs

    async def Start(self, request: pb.StartRequest, context: _Context) -> pb.StartResponse:
        trace, cause = call_of(context, "Start")
        started = await self._starter.start(
            workflow=request.workflow,
            bundle_digest=request.bundle_digest,
            inputs=convert.from_json_object(request.inputs_json, "inputs_json"),
            request_id=request.request_id,
            trigger="api",
            trace=trace,
            cause=cause,
            no_cache=request.no_cache,
        )
        return pb.StartResponse(
            run_id=started.run_id, created=started.created, temporal_url=self._temporal.url(started.run_id)
        )

    async def Get(self, request: pb.GetRequest, context: _Context) -> pb.Run:
        return self._run(await self._starter.find(request.run_id))

    async def List(self, request: pb.ListRequest, context: _Context) -> pb.ListResponse:
        if request.page_size < 0:
            raise InvalidInput(f"page_size is {request.page_size}", hint=f"from 1 to {MAX_PAGE}")
        page = await self._store.runs.list(
            workflow=request.workflow,
            state=convert.from_run_state(request.state),
            size=min(request.page_size or DEFAULT_PAGE, MAX_PAGE),
            token=request.page_token,
        )
        return pb.ListResponse(runs=[self._run(run) for run in page.runs], next_page_token=page.next_token)

    async def Cancel(self, request: pb.CancelRequest, context: _Context) -> pb.CancelResponse:
        # The store first: a workflow writes its end down a moment before Temporal closes it.
        if (await self._starter.find(request.run_id)).state.ended:
            return pb.CancelResponse(accepted=False)
        accepted = await self._temporal.cancel(request.run_id, request.reason)
        return pb.CancelResponse(accepted=accepted)

    # Streams

    async def Watch(self, request: pb.WatchRequest, context: _Context) -> AsyncIterator[pb.Run]:
        await self._starter.find(
            request.run_id
        )  # an unknown run is refused, and one that the store lacks is written down
        async for run in self._feed.watch(request.run_id):
            yield self._run(run)

    async def Logs(self, request: pb.LogsRequest, context: _Context) -> AsyncIterator[pb.LogLine]:
        await self._starter.find(request.run_id)
        async for one in self._logs.lines(request.run_id, request.step, follow=request.follow):
            at = convert.to_timestamp(one.line.at)
            yield pb.LogLine(step=one.step, node=one.line.node, text=one.line.text, at=at)

    async def Trace(self, request: pb.TraceRequest, context: _Context) -> pb.TraceResponse:
        run = await self._starter.find(request.run_id)
        record = await self._store.traces.record(request.run_id)
        # In a thread: a run of many thousands of nodes takes a second, in which others want answers.
        otlp = await asyncio.to_thread(_otlp, record, self._telemetry)
        found = trace_id(run.id, run.trace)
        return pb.TraceResponse(
            trace_id=found,
            otlp=otlp,
            url=self._telemetry.trace_url.replace("{trace_id}", found),
        )

    async def Engines(self, request: pb.EnginesRequest, context: _Context) -> pb.EnginesResponse:
        circuits = await self._store.circuits.fresh()
        return pb.EnginesResponse(
            engines=[
                pb.EngineStatus(
                    name=report.name,
                    kind=report.kind,
                    url=report.url,
                    ok=report.health.ok,
                    version=report.health.version,
                    message=report.health.message,
                    hint=report.health.hint,
                    circuits=[_circuit(one) for one in circuits.get(report.name, [])],
                    checks=[
                        pb.EngineCheck(name=c.name, verdict=c.verdict, detail=c.detail, hint=c.hint)
                        for c in report.health.checks
                    ],
                    use_cases=report.use_cases,
                )
                for report in await self._engines.report()
            ]
        )

    async def Orphans(self, request: pb.OrphansRequest, context: _Context) -> AsyncIterator[pb.OrphansUpdate]:
        findings = self._orphans.report(request.engine, terminate=request.terminate, uids=tuple(request.uids))
        async with aclosing(findings):
            async for finding in findings:
                yield to_update(finding)

    def _run(self, run: RunSnapshot) -> pb.Run:
        return convert.to_run(run, self._temporal.url(run.id))


def _workflow(workflow: PublishedWorkflow) -> pb.Workflow:
    return pb.Workflow(
        name=workflow.name,
        description=workflow.description,
        version=workflow.version,
        bundle_digest=workflow.bundle_digest,
        published_at=convert.to_timestamp(workflow.published_at),
        definition_json=workflow.definition.model_dump_json(by_alias=True, exclude_unset=True).encode(),
    )


def _circuit(one: WorkerCircuit) -> pb.WorkerCircuit:
    return pb.WorkerCircuit(
        worker=one.worker,
        state=one.circuit.state.value,
        since=convert.to_timestamp(one.circuit.since),
        reason=one.circuit.reason,
        retry_at=convert.to_timestamp(one.circuit.retry_at),
        awaited_runs=one.awaited_runs,
        seen_at=convert.to_timestamp(one.seen_at),
    )


def _otlp(record: RunRecord, telemetry: TelemetryConfig) -> bytes:
    return to_traces_data(run_spans(record, telemetry.baggage), resource_of(telemetry)).SerializeToString()
