"""gRPC's Plan."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import aio

from meta.api import convert
from meta.api.errors import to_problem
from meta.api.planner import PlannedStep, Planner, RunPlan
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.store import Store
from workflows.errors import DefinitionInvalid, InvalidInput


class PlanCalls(MetaServiceServicer):
    """Part of `meta.api.servicer.MetaServicer`, which sets these."""

    _store: Store
    _planner: Planner

    async def Plan(self, request: pb.PlanRequest, context: aio.ServicerContext[Message, Message]) -> pb.PlanResponse:
        if sum((bool(request.workflow), bool(request.bundle_digest), request.HasField("bundle"))) != 1:
            raise InvalidInput("give one of a workflow, a bundle digest, a bundle", hint="exactly one of the three")
        if request.HasField("bundle"):
            try:
                bundle = convert.checked_bundle(request.bundle)
            except DefinitionInvalid as error:
                return pb.PlanResponse(problems=[to_problem(problem) for problem in error.problems])
        else:
            digest = request.bundle_digest or (await self._store.workflows.newest(request.workflow)).bundle_digest
            bundle = await self._store.bundles.get(digest)
        inputs = convert.from_json_object(request.inputs_json, "inputs_json")
        return _response(await self._planner.plan(bundle, inputs, offline=request.offline))


def _response(plan: RunPlan) -> pb.PlanResponse:
    return pb.PlanResponse(
        workflow=plan.workflow,
        problems=[to_problem(problem) for problem in plan.problems],
        steps=[_step(one) for one in plan.steps],
        history_events=plan.forecast.events,
        history_bytes=plan.forecast.bytes,
        ok=plan.ok,
        inputs_json=convert.to_json(plan.inputs),
    )


def _step(one: PlannedStep) -> pb.PlannedStep:
    foreseen = one.foreseen
    counted = 0 if one.step.foreach is None else -1 if foreseen.items is None else foreseen.items
    known = {name: artifact.uri for name, artifact in foreseen.resolved.artifacts.items()}
    return pb.PlannedStep(
        name=one.name,
        kind=one.step.kind.value,
        engine=one.step.engine,
        role=one.role.value,
        runs=one.runs,
        after=one.after,
        what=foreseen.what.value,
        why=foreseen.why,
        when=one.step.when or "",
        parameters_json=convert.to_json({**foreseen.resolved.parameters, **known}),
        unknown={**foreseen.parameters, **foreseen.artifacts},
        taken_from=convert.to_taken(one.taken),
        items=counted,
        checks=[pb.EngineCheck(name=c.name, verdict=c.verdict, detail=c.detail, hint=c.hint) for c in one.checks],
    )
