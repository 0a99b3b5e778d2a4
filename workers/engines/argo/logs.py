"""Log lines of a Workflow, from the Argo server's log stream."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import cast

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from workers.engines.argo.client import ArgoClient, sse_data
from workers.engines.base import LogLine
from workers.engines.json_view import text
from workers.http import ApiUnavailable, server_message
from workflows.errors import EngineError, EngineUnavailable
from workflows.values import JsonObject

_BUFFER = 1000
"""Lines that are read ahead of a slow reader."""


async def read_logs(client: ArgoClient, name: str, nodes: dict[str, str], *, follow: bool) -> AsyncGenerator[LogLine]:
    """Yield the lines of all pods of a Workflow.

    Args:
        client: of the server.
        name: the Workflow's.
        nodes: display names by node id. A pod is named by its template and the node id's last part.
        follow: go on until the Workflow ends.

    Raises:
        EngineUnavailable: the stream broke.
        EngineRejected: the server refuses logs.
    """
    suffixes = {node_id.rsplit("-", 1)[-1]: shown for node_id, shown in nodes.items()}
    suffixes |= {node_id: shown for node_id, shown in nodes.items()}
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[LogLine | EngineError | None] = asyncio.Queue(_BUFFER)
    stopped = threading.Event()
    opened: list[BaseHTTPResponse] = []

    def put(item: LogLine | EngineError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            future = asyncio.run_coroutine_threadsafe(lines.put(item), loop)
            while not stopped.is_set():
                with suppress(TimeoutError):
                    future.result(timeout=0.5)
                    return
            future.cancel()

    def read() -> None:
        end: EngineError | None = None
        try:
            opened.append(client.open_logs(name, follow=follow))
            for data in sse_data(opened[0]):
                if stopped.is_set():
                    break
                put(_line(data, suffixes))
        except EngineError as error:
            end = error
        except (HTTPError, OSError) as error:
            end = ApiUnavailable(f"the log stream of workflow '{name}' broke: {error}", hint="ask for the logs again")
        finally:
            for response in opened:
                response.close()
            put(end)

    threading.Thread(target=read, name=f"logs-{name}", daemon=True).start()
    try:
        while (item := await lines.get()) is not None:
            if isinstance(item, EngineError):
                raise item
            yield item
    finally:
        stopped.set()
        for response in opened:
            with suppress(ValueError, RuntimeError, OSError):  # it was closed already
                response.shutdown()


def _line(data: str, suffixes: dict[str, str]) -> LogLine:
    try:
        value = cast("JsonObject", json.loads(data))
    except ValueError as error:
        raise EngineUnavailable(f"the log stream sent something that is not JSON: {data[:200]!r}") from error
    if "error" in value:
        raise EngineUnavailable(f"the log stream ended with an error: {server_message(data)}")
    pod = text(value, "result", "podName")
    node = suffixes.get(pod) or suffixes.get(pod.rsplit("-", 1)[-1]) or pod
    return LogLine(node=node, text=text(value, "result", "content"))
