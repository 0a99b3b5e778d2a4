"""Reads what a run produced from ML Metadata, the gRPC service beside KFP servers of 2.x.

The context `system.PipelineRun` named by the run's id holds the executions; each names its task and its parent DAG in
custom properties, its output parameters in the property `outputs`, and its artifacts by events
(`backend/src/v2/metadata/client.go` of KFP writes all this).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict

from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as rpc
from workers.engines.kfp.tasks import ArtifactRecord, TaskRecord
from workers.http import ApiUnavailable
from workflows.values import JsonObject, JsonValue

RUN_CONTEXT = "system.PipelineRun"
_MAX_MESSAGE = 64 * 1024 * 1024
_OUTPUT_EVENTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)
_OWN_PROPERTIES = ("display_name", "store_session_info")

_STATES = {
    pb.Execution.NEW: "PENDING",
    pb.Execution.RUNNING: "RUNNING",
    pb.Execution.COMPLETE: "SUCCEEDED",
    pb.Execution.CACHED: "SUCCEEDED",
    pb.Execution.FAILED: "FAILED",
    pb.Execution.CANCELED: "SKIPPED",  # KFP's driver writes CANCELED for a task whose condition did not hold
}


class MetadataReader:
    """A client of one ML Metadata server.

    Args:
        engine: the engine's name, for messages.
        address: `host:port`.
        timeout: seconds that one call may take.
    """

    def __init__(self, engine: str, address: str, timeout: float) -> None:
        self._engine = engine
        self._address = address
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None

    async def tasks(self, run_id: str) -> list[TaskRecord] | None:
        """All tasks of a run with their outputs; None when ML Metadata has no such run.

        Raises:
            ApiUnavailable: the server does not answer.
        """
        stub = self._stub()
        try:
            request = pb.GetContextByTypeAndNameRequest(type_name=RUN_CONTEXT, context_name=run_id)
            context = (await stub.GetContextByTypeAndName(request, timeout=self._timeout)).context
            if not context.HasField("id"):
                return None
            executions = await stub.GetExecutionsByContext(
                pb.GetExecutionsByContextRequest(context_id=context.id), timeout=self._timeout
            )
            ids = [execution.id for execution in executions.executions]
            events = await stub.GetEventsByExecutionIDs(
                pb.GetEventsByExecutionIDsRequest(execution_ids=ids), timeout=self._timeout
            )
            written = [event for event in events.events if event.type in _OUTPUT_EVENTS]
            artifacts = await self._artifacts(stub, {event.artifact_id for event in written})
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        outputs: dict[int, dict[str, list[ArtifactRecord]]] = {}
        for event in written:
            if event.artifact_id in artifacts:
                names = outputs.setdefault(event.execution_id, {})
                names.setdefault(_event_name(event), []).append(artifacts[event.artifact_id])
        return [_task(execution, outputs.get(execution.id, {})) for execution in executions.executions]

    async def check(self) -> None:
        """Ask for something small.

        Raises:
            ApiUnavailable: the server does not answer.
        """
        try:
            await self._stub().GetContextTypes(pb.GetContextTypesRequest(), timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _stub(self) -> rpc.MetadataStoreServiceAsyncStub:
        if self._channel is None:
            options = [("grpc.max_receive_message_length", _MAX_MESSAGE)]
            self._channel = grpc.aio.insecure_channel(self._address, options=options)
        return rpc.MetadataStoreServiceStub(self._channel)

    async def _artifacts(
        self, stub: rpc.MetadataStoreServiceAsyncStub, ids: Iterable[int]
    ) -> dict[int, ArtifactRecord]:
        wanted = sorted(ids)
        if not wanted:
            return {}
        request = pb.GetArtifactsByIDRequest(artifact_ids=wanted, populate_artifact_types=True)
        answer = await stub.GetArtifactsByID(request, timeout=self._timeout)
        types = {kind.id: kind.name for kind in answer.artifact_types}
        return {
            artifact.id: ArtifactRecord(
                uri=artifact.uri,
                type=artifact.type or types.get(artifact.type_id, ""),
                metadata={
                    name: _value(value)
                    for name, value in artifact.custom_properties.items()
                    if name not in _OWN_PROPERTIES
                },
            )
            for artifact in answer.artifacts
        }

    def _unavailable(self, error: grpc.aio.AioRpcError) -> ApiUnavailable:
        return ApiUnavailable(
            f"engine '{self._engine}': ML Metadata does not answer at {self._address}: "
            f"{error.code().name}: {error.details()}",
            hint=f"check metadata_address of [engines.{self._engine}] in meta.toml (metadata-grpc-service, port 8080)",
        )


def _task(execution: pb.Execution, artifacts: dict[str, list[ArtifactRecord]]) -> TaskRecord:
    properties = {name: _value(value) for name, value in execution.custom_properties.items()}
    parent, iteration, outputs = (properties.get(name) for name in ("parent_dag_id", "iteration_index", "outputs"))
    ended = execution.last_known_state not in (pb.Execution.NEW, pb.Execution.RUNNING)
    return TaskRecord(
        id=str(execution.id),
        name=str(properties.get("task_name") or ""),
        parent=str(parent) if isinstance(parent, int) and parent else "",
        type=execution.type,
        state=_STATES.get(execution.last_known_state, ""),
        iteration=iteration if isinstance(iteration, int) else None,
        cached=execution.last_known_state == pb.Execution.CACHED,
        pod=str(properties.get("pod_name") or ""),
        parameters=outputs if isinstance(outputs, dict) else {},
        artifacts=artifacts,
        started_at=_moment(execution.create_time_since_epoch),
        finished_at=_moment(execution.last_update_time_since_epoch) if ended else None,
    )


def _event_name(event: pb.Event) -> str:
    return next((step.key for step in event.path.steps if step.HasField("key")), "")


def _value(value: pb.Value) -> JsonValue:
    match value.WhichOneof("value"):
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return cast("JsonObject", MessageToDict(value.struct_value))
        case _:
            return None


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
