"""An ML Metadata server for tests: real gRPC, contents that the test writes."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import grpc
import grpc.aio

from workers.engines.kfp.metadata import RUN_CONTEXT
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as rpc
from workflows.values import JsonObject


class MetadataStub(rpc.MetadataStoreServiceServicer):
    """Knows runs by id, and writes tasks as KFP's driver and launcher do.

    async with serve_metadata() as stub:
        root = stub.add_task("run-1", "")
        stub.add_task("run-1", "train", parent=root, outputs={"accuracy": 0.9})
    """

    def __init__(self) -> None:
        self._contexts: dict[str, pb.Context] = {}
        self._executions: dict[int, list[pb.Execution]] = {}
        self._events: list[pb.Event] = []
        self._artifacts: dict[int, pb.Artifact] = {}
        self._last = 0
        self._server = grpc.aio.server()
        rpc.add_MetadataStoreServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> MetadataStub:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)

    def add_task(
        self,
        run_id: str,
        name: str,
        *,
        parent: int = 0,
        outputs: JsonObject | None = None,
        artifacts: Mapping[str, tuple[str, str]] | None = None,
        state: pb.Execution.State.ValueType = pb.Execution.COMPLETE,
        iteration: int | None = None,
    ) -> int:
        """Write a task; the root has no name and no parent. Artifacts: name to URI and type."""
        context = self._contexts.setdefault(run_id, pb.Context(id=self._id(), name=run_id, type=RUN_CONTEXT))
        execution = pb.Execution(
            id=self._id(),
            type="system.ContainerExecution" if artifacts is not None else "system.DAGExecution",
            last_known_state=state,
            create_time_since_epoch=1_700_000_000_000,
            last_update_time_since_epoch=1_700_000_005_000,
        )
        properties = execution.custom_properties
        properties["task_name"].string_value = name
        if parent:
            properties["parent_dag_id"].int_value = parent
        if iteration is not None:
            properties["iteration_index"].int_value = iteration
        if outputs is not None:
            properties["outputs"].struct_value.update(outputs)
        self._executions.setdefault(context.id, []).append(execution)
        for key, (uri, kind) in (artifacts or {}).items():
            artifact = pb.Artifact(id=self._id(), uri=uri, type=kind)
            artifact.custom_properties["display_name"].string_value = key
            artifact.custom_properties["framework"].string_value = "sklearn"
            self._artifacts[artifact.id] = artifact
            event = pb.Event(artifact_id=artifact.id, execution_id=execution.id, type=pb.Event.OUTPUT)
            event.path.steps.add().key = key
            self._events.append(event)
        return execution.id

    def _id(self) -> int:
        self._last += 1
        return self._last

    async def GetContextByTypeAndName(
        self,
        request: pb.GetContextByTypeAndNameRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> pb.GetContextByTypeAndNameResponse:
        found = self._contexts.get(request.context_name) if request.type_name == RUN_CONTEXT else None
        return pb.GetContextByTypeAndNameResponse(context=found)

    async def GetExecutionsByContext(
        self, request: pb.GetExecutionsByContextRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetExecutionsByContextResponse:
        return pb.GetExecutionsByContextResponse(executions=self._executions[request.context_id])

    async def GetEventsByExecutionIDs(
        self, request: pb.GetEventsByExecutionIDsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetEventsByExecutionIDsResponse:
        wanted = set(request.execution_ids)
        return pb.GetEventsByExecutionIDsResponse(events=[e for e in self._events if e.execution_id in wanted])

    async def GetArtifactsByID(
        self, request: pb.GetArtifactsByIDRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetArtifactsByIDResponse:
        return pb.GetArtifactsByIDResponse(artifacts=[self._artifacts[i] for i in request.artifact_ids])

    async def GetContextTypes(
        self, request: pb.GetContextTypesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetContextTypesResponse:
        return pb.GetContextTypesResponse()


def serve_metadata() -> MetadataStub:
    """A server that knows the calls which the adapter makes; the others answer UNIMPLEMENTED."""
    return MetadataStub()  # pyright: ignore[reportAbstractUsage] -- the generated stub file marks all calls abstract
