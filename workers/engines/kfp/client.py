"""A typed facade over `kfp_server_api`: the calls of `/apis/v2beta1` that the adapter makes, as JSON.

Only the generated client is imported (0.2 s), not `kfp` (1.5 s). Its models are left aside: they know the fields of
one server version.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import cast

from workers.circuit import Circuit
from workers.engines.json_view import children, text
from workers.http import POOL, ApiCaller, ApiRejected, ApiUnavailable, GeneratedClient
from workers.settings import KfpSettings
from workflows.values import JsonObject, JsonValue

_RUNS = "/apis/v2beta1/runs"
_EXPERIMENTS = "/apis/v2beta1/experiments"
_PIPELINES = "/apis/v2beta1/pipelines"
PAGE = 100
"""Rows of a list call."""

_INTERNAL = 500
_BAD_PIPELINE = re.compile(
    r"error fetching manifest: .*(an (empty|invalid) pipeline spec manifest|ResourceNotFoundError)", re.DOTALL
)

_NO_RETRY = re.compile(r"does not allow retries|must be Failed/Error to retry", re.IGNORECASE)


def equals(key: str, value: str) -> str:
    """A list call's filter: one field equals a string (`backend/api/v2beta1/filter.proto`)."""
    return _filter("EQUALS", key, {"string_value": value})


def since(key: str, moment: str) -> str:
    """A list call's filter: a time (RFC 3339) or later."""
    return _filter("GREATER_THAN_EQUALS", key, {"timestamp_value": moment})


def one_of(key: str, values: Sequence[str]) -> str:
    """A list call's filter: one field is one of some strings."""
    return _filter("IN", key, {"string_values": {"values": list(values)}})


def _filter(operation: str, key: str, value: JsonObject) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


class KfpClient:
    """Calls to one KFP API server.

    All methods raise `workers.http.ApiUnavailable` or `workers.http.ApiRejected`.
    """

    def __init__(self, engine: str, settings: KfpSettings) -> None:
        self._settings = settings
        self._caller = ApiCaller(engine, *_generated(settings), settings)

    async def create_run(self, run: JsonObject, *, send_by: float | None = None) -> JsonObject:
        """POST a run. Not idempotent: a display name can be given twice.

        A pipeline that is not valid, or a version that does not exist, comes from the server as an internal error, 500
        (CreateRun in resource_manager.go). It is told by its words: it would be refused for ever. A database or an
        object store that cannot be asked for the version begins with the same ones, and is no refusal. `send_by`: see
        `ApiCaller`.
        """
        try:
            return await self._caller.call("POST", _RUNS, body=run, send_by=send_by)
        except ApiUnavailable as error:
            if error.status == _INTERNAL and _BAD_PIPELINE.search(error.message):
                raise ApiRejected(error.message, status=error.status, answer=error.message) from error
            raise

    async def run(self, run_id: str) -> JsonObject | None:
        """Read a run, with its pipeline spec and task details. None when there is none."""
        return await self._caller.find(_RUNS + "/{run_id}", where={"run_id": run_id})

    async def runs_named(self, name: str) -> list[JsonObject]:
        """All runs of a display name, archived ones too, oldest first."""
        found = [run async for run in self.runs(filter=equals("display_name", name))]
        return sorted(found, key=lambda run: (text(run, "created_at"), text(run, "run_id")))

    async def runs(
        self, *, filter: str = "", sort_by: str = "created_at asc", pages: int = 50
    ) -> AsyncIterator[JsonObject]:
        """Runs that pass a filter, page by page; every row carries its whole pipeline spec.

        Args:
            filter: as `equals` and `since` make it.
            sort_by: field and direction.
            pages: how many pages of 100 to read at most.
        """
        async for run in self._pages(_RUNS, "runs", filter=filter, sort_by=sort_by, pages=pages):
            yield run

    async def terminate(self, run_id: str) -> None:
        """Ask a run to end; an error when it has ended."""
        await self._caller.call("POST", _RUNS + "/{run_id}:terminate", where={"run_id": run_id})

    async def retry(self, run_id: str, *, send_by: float | None = None) -> None:
        """Retry a failed run in place; an error unless it has failed. Not idempotent: the caller fences it.

        One that cannot be retried comes as an internal error, 500 (RetryRun in resource_manager.go): told by its words.
        """
        try:
            await self._caller.call("POST", _RUNS + "/{run_id}:retry", where={"run_id": run_id}, send_by=send_by)
        except ApiUnavailable as error:
            if error.status == _INTERNAL and _NO_RETRY.search(error.message):
                raise ApiRejected(error.message, status=error.status, answer=error.message) from error
            raise

    async def experiment(self, name: str) -> str:
        """Id of an experiment by name; empty when there is none."""
        filter = equals("display_name", name)
        async for found in self._pages(_EXPERIMENTS, "experiments", filter=filter, pages=1):
            return text(found, "experiment_id")
        return ""

    async def any_experiment(self) -> str:
        """Id of some experiment; empty when there is none."""
        async for found in self._pages(_EXPERIMENTS, "experiments", sort_by="created_at asc", pages=1):
            return text(found, "experiment_id")
        return ""

    async def can_list_runs(self) -> None:
        """Ask for one run, to see whether it is allowed."""
        space = {"namespace": self._settings.namespace} if self._settings.namespace else {}
        await self._caller.call("GET", _RUNS, query={"page_size": 1, **space})

    async def create_experiment(self, name: str) -> str:
        """Make an experiment; 409 when the name is taken."""
        body: JsonObject = {"display_name": name, "description": "runs of the meta-workflow of this name"}
        if self._settings.namespace:
            body["namespace"] = self._settings.namespace
        return text(await self._caller.call("POST", _EXPERIMENTS, body=body), "experiment_id")

    async def pipeline(self, name: str) -> str:
        """Id of an uploaded pipeline by name; empty when there is none.

        Servers before 2.15 know one name, `display_name`; later ones tell it from `name`. Both are looked at.
        """
        async for found in self._pages(_PIPELINES, "pipelines", sort_by="created_at desc"):
            if name in (text(found, "name"), text(found, "display_name")):
                return text(found, "pipeline_id")
        return ""

    async def versions(self, pipeline_id: str) -> list[JsonObject]:
        """Versions of a pipeline, newest first, each with its pipeline spec."""
        path = _PIPELINES + "/{pipeline_id}/versions"
        pages = self._pages(
            path, "pipeline_versions", where={"pipeline_id": pipeline_id}, sort_by="created_at desc", pages=10
        )
        return [version async for version in pages]

    async def version(self, pipeline_id: str, version_id: str) -> JsonObject | None:
        """One version of a pipeline, with its pipeline spec."""
        path = _PIPELINES + "/{pipeline_id}/versions/{version_id}"
        return await self._caller.find(path, where={"pipeline_id": pipeline_id, "version_id": version_id})

    async def tasks(self, run_id: str) -> list[JsonObject] | None:
        """Tasks of a run with inputs and outputs, from servers of 3.x; None from others, which have no such path."""
        path = _RUNS + "/{run_id}/tasks"
        first = await self._caller.find(path, where={"run_id": run_id}, query={"page_size": PAGE})
        if first is None:
            return None
        found = children(first, "tasks")
        while token := text(first, "next_page_token"):
            query = {"page_size": PAGE, "page_token": token}
            first = await self._caller.call("GET", path, where={"run_id": run_id}, query=query)
            found += children(first, "tasks")
        return found

    async def artifact(self, artifact_id: str) -> JsonObject | None:
        """One artifact, from servers of 3.x."""
        return await self._caller.find("/apis/v2beta1/artifacts/{artifact_id}", where={"artifact_id": artifact_id})

    async def health(self) -> JsonObject:
        """`/apis/v2beta1/healthz`: answers when the server is up."""
        return await self._caller.call("GET", "/apis/v2beta1/healthz")

    @property
    def circuit(self) -> Circuit:
        return self._caller.circuit

    def close(self) -> None:
        self._caller.close()

    async def _pages(
        self,
        path: str,
        items: str,
        *,
        where: dict[str, str] | None = None,
        filter: str = "",
        sort_by: str = "",
        pages: int = 50,
    ) -> AsyncIterator[JsonObject]:
        query: dict[str, str | int] = {"page_size": PAGE}
        if self._settings.namespace and where is None:
            query["namespace"] = self._settings.namespace
        if filter:
            query["filter"] = filter
        if sort_by:
            query["sort_by"] = sort_by
        for _ in range(pages):
            page = await self._caller.call("GET", path, where=where, query=query)
            for item in children(page, items):
                yield item
            token: JsonValue = page.get("next_page_token")
            if not isinstance(token, str) or not token:
                return
            # A token carries its query. A filter on times given again beside it is refused: the server compares it with
            # the token's, where the times have become floats (backend/src/apiserver/list/list.go, Matches).
            query = {key: value for key, value in query.items() if key not in ("filter", "sort_by")}
            query["page_token"] = token


def _generated(settings: KfpSettings) -> tuple[GeneratedClient, type[Exception]]:
    import kfp_server_api

    configuration = kfp_server_api.Configuration()
    configuration.host = settings.url.rstrip("/")
    # What to repeat is decided above, where it is known what is safe; urllib3's own retries are switched off.
    configuration.retries = False  # pyright: ignore[reportAttributeAccessIssue] -- generated code says None
    configuration.connection_pool_maxsize = POOL
    return cast("GeneratedClient", kfp_server_api.ApiClient(configuration)), kfp_server_api.ApiException
