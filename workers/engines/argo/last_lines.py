"""The last lines that failed pods wrote. Best effort: an outcome never fails or waits long for want of logs."""

from __future__ import annotations

import asyncio
import logging

from urllib3.exceptions import HTTPError

from workers.engines.argo import outcome as reading
from workers.engines.argo.client import ArgoClient
from workers.engines.argo.pods import pod_name
from workers.engines.json_view import text
from workflows.errors import EngineError
from workflows.outcome import MAX_LOG_LINES, FailedNode, Node, Outcome, failed_node
from workflows.values import JsonObject

log = logging.getLogger(__name__)

PODS = 5
"""Failed pods whose logs are read."""

PATIENCE = 5.0
"""Seconds for all of them together."""


async def with_last_lines(client: ArgoClient, workflow: JsonObject, outcome: Outcome) -> list[FailedNode]:
    """The failed nodes of an outcome, with the last lines of the first few pods among them."""
    failed = reading.failed_leaves(outcome.nodes)[: len(outcome.failed_nodes)]
    pods = [node for node in failed if node.type == "Pod"][:PODS]
    if not pods:
        return outcome.failed_nodes
    tasks = {node.id: asyncio.create_task(_lines(client, workflow, node)) for node in pods}
    done, late = await asyncio.wait(tasks.values(), timeout=PATIENCE)
    for task in late:
        task.cancel()
    lines = {node_id: task.result() for node_id, task in tasks.items() if task in done}
    return [failed_node(node, lines.get(node.id)) for node in failed]


async def _lines(client: ArgoClient, workflow: JsonObject, node: Node) -> list[str]:
    name = text(workflow, "metadata", "name")
    try:
        return await client.run(lambda: client.tail(name, pod_name(workflow, node.id), MAX_LOG_LINES, PATIENCE))
    except (EngineError, HTTPError, OSError, ValueError) as error:
        # The pod is gone, the server may not read its log, or what it sends is no log.
        log.info("no log of node '%s' of workflow '%s': %s", node.name, name, error)
        return []
