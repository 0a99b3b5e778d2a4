"""ML Metadata's gRPC service, reading: what `metadata-grpc-service:8080` answers beside a real server.

List calls page by `max_result_size` when they carry options and answer with everything when they do not, as ML Metadata
does. Calls that write, and `filter_query`, are refused by name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from meta.sandbox.kfp.metadata_store import MetadataStore
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc
from workflows.errors import PortTaken

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[object, object]

MAX_MESSAGE_BYTES = 100 * 1024 * 1024  # as KFP's own client
_T = TypeVar("_T")


class MetadataService(pb_grpc.MetadataStoreServiceServicer):
    """The calls of `metadata_store.proto`."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._database = store.database

    async def GetContextByTypeAndName(
        self, request: pb.GetContextByTypeAndNameRequest, context: Context
    ) -> pb.GetContextByTypeAndNameResponse:
        found = self._store.context(request.type_name, request.context_name)
        return pb.GetContextByTypeAndNameResponse(context=found)

    async def GetContextsByType(
        self, request: pb.GetContextsByTypeRequest, context: Context
    ) -> pb.GetContextsByTypeResponse:
        rows = self._database.rows(
            "SELECT c.id, c.message FROM mlmd_contexts c JOIN mlmd_types t ON t.id = c.type_id WHERE t.name = ?",
            request.type_name,
        )
        options = request.options if request.HasField("options") else None
        found, token = await _page(rows, options, pb.Context.FromString, context)
        return pb.GetContextsByTypeResponse(contexts=found, next_page_token=token)

    async def GetContextsByID(self, request: pb.GetContextsByIDRequest, context: Context) -> pb.GetContextsByIDResponse:
        return pb.GetContextsByIDResponse(contexts=self._contexts(list(request.context_ids)))

    async def GetContextsByExecution(
        self, request: pb.GetContextsByExecutionRequest, context: Context
    ) -> pb.GetContextsByExecutionResponse:
        row = self._database.row(
            "SELECT run_context, pipeline_context FROM mlmd_executions WHERE id = ?", request.execution_id
        )
        ids = [] if row is None else [int(row["pipeline_context"]), int(row["run_context"])]
        return pb.GetContextsByExecutionResponse(contexts=self._contexts(ids))

    async def GetParentContextsByContext(
        self, request: pb.GetParentContextsByContextRequest, context: Context
    ) -> pb.GetParentContextsByContextResponse:
        row = self._database.row("SELECT parent FROM mlmd_contexts WHERE id = ?", request.context_id)
        return pb.GetParentContextsByContextResponse(contexts=self._contexts([int(row["parent"])] if row else []))

    async def GetExecutionsByContext(
        self, request: pb.GetExecutionsByContextRequest, context: Context
    ) -> pb.GetExecutionsByContextResponse:
        rows = self._database.rows(
            "SELECT id, message FROM mlmd_executions WHERE run_context = ? OR pipeline_context = ?",
            request.context_id,
            request.context_id,
        )
        options = request.options if request.HasField("options") else None
        found, token = await _page(rows, options, pb.Execution.FromString, context)
        return pb.GetExecutionsByContextResponse(executions=found, next_page_token=token)

    async def GetExecutionsByID(
        self, request: pb.GetExecutionsByIDRequest, context: Context
    ) -> pb.GetExecutionsByIDResponse:
        return pb.GetExecutionsByIDResponse(executions=self._store.executions(list(request.execution_ids)))

    async def GetEventsByExecutionIDs(
        self, request: pb.GetEventsByExecutionIDsRequest, context: Context
    ) -> pb.GetEventsByExecutionIDsResponse:
        return pb.GetEventsByExecutionIDsResponse(
            events=self._store.events("execution_id", list(request.execution_ids))
        )

    async def GetEventsByArtifactIDs(
        self, request: pb.GetEventsByArtifactIDsRequest, context: Context
    ) -> pb.GetEventsByArtifactIDsResponse:
        return pb.GetEventsByArtifactIDsResponse(events=self._store.events("artifact_id", list(request.artifact_ids)))

    async def GetArtifactsByContext(
        self, request: pb.GetArtifactsByContextRequest, context: Context
    ) -> pb.GetArtifactsByContextResponse:
        rows = self._database.rows(
            "SELECT a.id, a.message FROM mlmd_artifacts a JOIN mlmd_attributions x ON x.artifact_id = a.id "
            "WHERE x.context_id = ?",
            request.context_id,
        )
        options = request.options if request.HasField("options") else None
        found, token = await _page(rows, options, pb.Artifact.FromString, context)
        return pb.GetArtifactsByContextResponse(artifacts=found, next_page_token=token)

    async def GetArtifactsByID(
        self, request: pb.GetArtifactsByIDRequest, context: Context
    ) -> pb.GetArtifactsByIDResponse:
        found = self._store.artifacts(list(request.artifact_ids))
        response = pb.GetArtifactsByIDResponse(artifacts=found)
        if request.populate_artifact_types:
            response.artifact_types.extend(self._artifact_types([artifact.type_id for artifact in found]))
        return response

    async def GetArtifactTypes(
        self, request: pb.GetArtifactTypesRequest, context: Context
    ) -> pb.GetArtifactTypesResponse:
        return pb.GetArtifactTypesResponse(artifact_types=self._artifact_types(None))

    async def GetArtifactTypesByID(
        self, request: pb.GetArtifactTypesByIDRequest, context: Context
    ) -> pb.GetArtifactTypesByIDResponse:
        return pb.GetArtifactTypesByIDResponse(artifact_types=self._artifact_types(list(request.type_ids)))

    async def GetExecutionTypes(
        self, request: pb.GetExecutionTypesRequest, context: Context
    ) -> pb.GetExecutionTypesResponse:
        return pb.GetExecutionTypesResponse(execution_types=self._execution_types(None))

    async def GetExecutionTypesByID(
        self, request: pb.GetExecutionTypesByIDRequest, context: Context
    ) -> pb.GetExecutionTypesByIDResponse:
        return pb.GetExecutionTypesByIDResponse(execution_types=self._execution_types(list(request.type_ids)))

    async def GetContextTypes(self, request: pb.GetContextTypesRequest, context: Context) -> pb.GetContextTypesResponse:
        types = [pb.ContextType(id=number, name=name) for number, name in self._types("context", None)]
        return pb.GetContextTypesResponse(context_types=types)

    def _contexts(self, ids: Sequence[int]) -> list[pb.Context]:
        marks = ", ".join("?" for _ in ids)
        rows = self._database.rows(f"SELECT message FROM mlmd_contexts WHERE id IN ({marks}) ORDER BY id", *ids)
        return [pb.Context.FromString(row["message"]) for row in rows]

    def _types(self, kind: str, ids: Sequence[int] | None) -> list[tuple[int, str]]:
        rows = self._database.rows("SELECT id, name FROM mlmd_types WHERE kind = ? ORDER BY id", kind)
        return [(int(row["id"]), str(row["name"])) for row in rows if ids is None or row["id"] in ids]

    def _artifact_types(self, ids: Sequence[int] | None) -> list[pb.ArtifactType]:
        return [pb.ArtifactType(id=number, name=name) for number, name in self._types("artifact", ids)]

    def _execution_types(self, ids: Sequence[int] | None) -> list[pb.ExecutionType]:
        return [pb.ExecutionType(id=number, name=name) for number, name in self._types("execution", ids)]


async def _page(
    rows: Sequence[sqlite3.Row], options: pb.ListOperationOptions | None, parse: Callable[[bytes], _T], context: Context
) -> tuple[list[_T], str]:
    """One page by id, in the order that the options ask for."""
    if options is None:
        return [parse(row["message"]) for row in sorted(rows, key=lambda row: int(row["id"]))], ""
    if options.filter_query:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "filter_query is not supported by the sandbox's ML Metadata")
    ascending = options.order_by_field.is_asc
    ordered = sorted(rows, key=lambda row: int(row["id"]), reverse=not ascending)  # time goes with the id
    if options.next_page_token:
        last = int(options.next_page_token)
        ordered = [row for row in ordered if (int(row["id"]) > last) == ascending and int(row["id"]) != last]
    page = ordered[: options.max_result_size]
    token = str(page[-1]["id"]) if len(ordered) > len(page) else ""
    return [parse(row["message"]) for row in page], token


async def start(
    store: MetadataStore | None, host: str, port: int, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
) -> tuple[grpc.aio.Server, int]:
    """Start the gRPC server.

    Args:
        store: what it reads; without one every call is answered UNIMPLEMENTED, as there is no such service.
        host: where it listens.
        port: 0 takes a free one.
        interceptors: around every call.

    Returns:
        The server and its port.

    Raises:
        PortTaken: somebody else listens there.
    """
    limits = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=limits, interceptors=interceptors)
    if store is not None:
        pb_grpc.add_MetadataStoreServiceServicer_to_server(MetadataService(store), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise PortTaken(
            f"{host}:{port}: the ML Metadata port of the sandbox Kubeflow Pipelines server is taken: {error}",
            hint="Give a free one with --metadata-port.",
        ) from error
    await server.start()
    return server, bound
