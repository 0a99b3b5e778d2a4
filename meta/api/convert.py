"""Protobuf messages to our models and back; both the service and the SDK use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError

from meta.api.v1 import meta_pb2 as pb
from workflows.bundle import Bundle
from workflows.errors import BundleInvalid, InputsInvalid
from workflows.messages import Asked, Decision, ItemCounts, OtherRun, RunSnapshot, StepRole, StepSnapshot, Taken
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailedNode, RunState, StepKind, StepState
from workflows.spec import load_definition
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue, canonical_json


def to_bundle(bundle: Bundle) -> pb.Bundle:
    # only what was set, as in the digest: a default that a later version changes must not change old digests
    definition = bundle.definition.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return pb.Bundle(definition_json=definition, files=dict(bundle.files), source=bundle.source)


def from_bundle(bundle: pb.Bundle) -> Bundle:
    """Read a bundle.

    Raises:
        BundleInvalid: the definition is no JSON of `apiVersion: meta/v1`.
    """
    return Bundle(definition=from_definition(bundle.definition_json), files=dict(bundle.files), source=bundle.source)


def checked_bundle(bundle: pb.Bundle) -> Bundle:
    """Read a bundle of which somebody wants to know what is wrong.

    Raises:
        DefinitionInvalid: the text of the definition does not fit the models; with every place.
        BundleInvalid: see `from_bundle`.
    """
    if bundle.source:
        load_definition(bundle.source)
    return from_bundle(bundle)


def from_definition(data: bytes) -> MetaWorkflow:
    """Read a definition.

    Raises:
        BundleInvalid: with every place that does not fit the models.
    """
    try:
        return MetaWorkflow.model_validate_json(data)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'definition_json'}: {e['msg']}" for e in error.errors()]
        raise BundleInvalid("\n".join(lines), hint="build bundles with meta.client or `meta publish`") from error


def to_json(value: JsonValue | Mapping[str, JsonValue]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def from_json_object(data: bytes, what: str) -> JsonObject:
    """Read a JSON object; empty bytes are the empty object.

    Args:
        data: UTF-8.
        what: the field, for the message.

    Raises:
        InputsInvalid: no JSON, or no object.
    """
    if not data:
        return {}
    hint = 'send a JSON object, as {"learning_rate": 0.1}'
    try:
        value: JsonValue = json.loads(data, parse_constant=_refuse_constant)
        canonical_json(value)  # lone surrogates pass json.loads, and nothing after it
    except (ValueError, RecursionError) as error:
        raise InputsInvalid(f"{what} is no JSON: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise InputsInvalid(f"{what} is a JSON {type(value).__name__}, not an object", hint=hint)
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def to_run(run: RunSnapshot, temporal_url: str = "") -> pb.Run:
    return pb.Run(
        id=run.id,
        workflow=run.workflow,
        bundle_digest=run.bundle_digest,
        request_id=run.request_id,
        trigger=run.trigger,
        state=to_run_state(run.state),
        message=run.message,
        inputs_json=to_json(run.inputs),
        outputs_json=to_json(run.outputs),
        steps=[to_step(step) for step in run.steps],
        started_at=to_timestamp(run.started_at),
        finished_at=to_timestamp(run.finished_at),
        temporal_url=temporal_url,
        parent=run.parent,
        retry_of=run.retry_of,
        retried_as=run.retried_as,
    )


def from_run(run: pb.Run) -> RunSnapshot:
    return RunSnapshot(
        id=run.id,
        workflow=run.workflow,
        bundle_digest=run.bundle_digest,
        request_id=run.request_id,
        trigger=run.trigger,
        state=from_run_state(run.state) or RunState.RUNNING,
        message=run.message,
        inputs=from_json_object(run.inputs_json, "inputs_json"),
        outputs=from_json_object(run.outputs_json, "outputs_json"),
        steps=[from_step(step) for step in run.steps],
        started_at=from_timestamp(run.started_at if run.HasField("started_at") else None),
        finished_at=from_timestamp(run.finished_at if run.HasField("finished_at") else None),
        parent=run.parent,
        retry_of=run.retry_of,
        retried_as=list(run.retried_as),
    )


def to_step(step: StepSnapshot) -> pb.Step:
    message = pb.Step(
        name=step.name,
        kind=step.kind.value,
        engine=step.engine,
        state=pb.StepState.Value(f"STEP_STATE_{step.state.name}"),
        attempt=step.attempt,
        message=step.message,
        outputs_json=to_json(step.outputs),
        artifacts=[to_artifact(artifact) for artifact in step.artifacts.values()],
        nodes=step.nodes,
        cached_nodes=step.cached_nodes,
        started_at=to_timestamp(step.started_at),
        finished_at=to_timestamp(step.finished_at),
        note=step.note,
        role=step.role.value,
        child_run_id=step.child,
        stored=step.stored,
        continued=step.continued,
        artifact_lists=[
            pb.ArtifactList(name=name, artifacts=[to_artifact(a) if a is not None else pb.Artifact() for a in found])
            for name, found in step.artifact_lists.items()
        ],
        items=None if step.items is None else pb.ItemCounts(**step.items.model_dump()),
        taken_from=to_taken(step.taken_from),
        asked=to_asked(step.asked),
        decision=to_decision(step.decision),
        failed_nodes=[
            pb.FailedNode(name=n.name, phase=n.phase, message=n.message, exit_code=n.exit_code, log=n.log)
            for n in step.failed_nodes
        ],
    )
    if step.run is not None:
        message.run.CopyFrom(to_engine_run(step.run))
    for other in step.other_runs:
        message.other_runs.add(
            run=to_engine_run(other.ref), attempt=other.attempt, stays_uid=other.stays, ended_at=to_timestamp(other.at)
        )
    if step.duration is not None:
        message.duration.FromTimedelta(step.duration)
    return message


def from_step(step: pb.Step) -> StepSnapshot:
    kind = StepKind(step.kind)
    run = from_engine_run(step.run, step.engine, EngineKind(kind)) if step.HasField("run") else None
    return StepSnapshot(
        name=step.name,
        kind=kind,
        engine=step.engine,
        state=StepState[pb.StepState.Name(step.state).removeprefix("STEP_STATE_")],
        attempt=step.attempt,
        message=step.message,
        run=run,
        outputs=from_json_object(step.outputs_json, "outputs_json"),
        artifacts={artifact.name: from_artifact(artifact) for artifact in step.artifacts},
        nodes=step.nodes,
        cached_nodes=step.cached_nodes,
        started_at=from_timestamp(step.started_at if step.HasField("started_at") else None),
        finished_at=from_timestamp(step.finished_at if step.HasField("finished_at") else None),
        other_runs=[
            OtherRun(
                ref=from_engine_run(other.run, step.engine, EngineKind(kind)),
                attempt=other.attempt,
                stays=other.stays_uid,
                at=other.ended_at.ToDatetime(tzinfo=UTC),
            )
            for other in step.other_runs
        ],
        note=step.note,
        role=StepRole(step.role or StepRole.STEP),
        child=step.child_run_id,
        stored=step.stored,
        continued=step.continued,
        artifact_lists={
            found.name: [from_artifact(a) if a.uri else None for a in found.artifacts] for found in step.artifact_lists
        },
        items=from_items(step.items) if step.HasField("items") else None,
        taken_from=from_taken(step.taken_from) if step.HasField("taken_from") else None,
        asked=from_asked(step.asked) if step.HasField("asked") else None,
        decision=from_decision(step.decision) if step.HasField("decision") else None,
        failed_nodes=[from_failed_node(node) for node in step.failed_nodes],
    )


def from_items(items: pb.ItemCounts) -> ItemCounts:
    return ItemCounts(
        total=items.total,
        running=items.running,
        succeeded=items.succeeded,
        failed=items.failed,
        taken=items.taken,
    )


def to_taken(taken: Taken | None) -> pb.Taken | None:
    if taken is None:
        return None
    return pb.Taken(how=taken.how, run_id=taken.run, step=taken.step, index=taken.index, at=to_timestamp(taken.at))


def from_taken(taken: pb.Taken) -> Taken:
    return Taken(
        how="retry" if taken.how == "retry" else "cache",
        run=taken.run_id,
        step=taken.step,
        index=taken.index,
        at=from_timestamp(taken.at if taken.HasField("at") else None),
    )


def to_asked(asked: Asked | None) -> pb.ApprovalRequest | None:
    if asked is None:
        return None
    return pb.ApprovalRequest(
        prompt=asked.prompt,
        parameters_json=to_json(asked.parameters),
        artifacts=[to_artifact(artifact) for artifact in asked.artifacts.values()],
        approvers=asked.approvers,
        digest=asked.digest,
        deadline=to_timestamp(asked.deadline),
        on_timeout=asked.on_timeout,
    )


def from_asked(asked: pb.ApprovalRequest) -> Asked:
    return Asked(
        prompt=asked.prompt,
        parameters=from_json_object(asked.parameters_json, "parameters_json"),
        artifacts={artifact.name: from_artifact(artifact) for artifact in asked.artifacts},
        approvers=list(asked.approvers),
        digest=asked.digest,
        deadline=from_timestamp(asked.deadline if asked.HasField("deadline") else None),
        on_timeout=asked.on_timeout,
    )


def to_decision(decision: Decision | None) -> pb.Decision | None:
    if decision is None:
        return None
    return pb.Decision(
        approved=decision.approved,
        by=decision.by,
        at=to_timestamp(decision.at),
        reason=decision.reason,
        digest=decision.digest,
    )


def from_decision(decision: pb.Decision) -> Decision:
    return Decision(
        approved=decision.approved,
        by=decision.by,
        at=decision.at.ToDatetime(tzinfo=UTC),
        reason=decision.reason,
        digest=decision.digest,
    )


def to_engine_run(ref: EngineRunRef) -> pb.EngineRun:
    return pb.EngineRun(name=ref.name, uid=ref.uid, namespace=ref.namespace, url=ref.url)


def from_engine_run(run: pb.EngineRun, engine: str, kind: EngineKind) -> EngineRunRef:
    return EngineRunRef(engine=engine, kind=kind, name=run.name, uid=run.uid, namespace=run.namespace, url=run.url)


def from_failed_node(node: pb.FailedNode) -> FailedNode:
    exit_code = node.exit_code if node.HasField("exit_code") else None
    return FailedNode(name=node.name, phase=node.phase, message=node.message, exit_code=exit_code, log=list(node.log))


def to_artifact(artifact: Artifact) -> pb.Artifact:
    return pb.Artifact(
        name=artifact.name,
        uri=artifact.uri,
        sha256=artifact.sha256 or "",
        size=artifact.size,
        type=artifact.type,
        producer=artifact.producer,
        metadata_json=to_json(artifact.metadata),
    )


def from_artifact(artifact: pb.Artifact) -> Artifact:
    return Artifact(
        name=artifact.name,
        uri=artifact.uri,
        sha256=artifact.sha256 or None,
        size=artifact.size if artifact.HasField("size") else None,
        type=artifact.type,
        producer=artifact.producer,
        metadata=from_json_object(artifact.metadata_json, "metadata_json"),
    )


def to_run_state(state: RunState | None) -> pb.RunState.ValueType:
    name = "UNSPECIFIED" if state is None else state.name
    return pb.RunState.Value(f"RUN_STATE_{name}")


def from_run_state(state: pb.RunState.ValueType) -> RunState | None:
    """The state; None for UNSPECIFIED."""
    return None if state == pb.RUN_STATE_UNSPECIFIED else RunState[pb.RunState.Name(state).removeprefix("RUN_STATE_")]


def to_timestamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def from_timestamp(stamp: Timestamp | None) -> datetime | None:
    return None if stamp is None else stamp.ToDatetime(tzinfo=UTC)
