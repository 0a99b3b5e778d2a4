"""`memoize`: a node whose outputs come from a cache, and one whose outputs go there (executeTemplate)."""

from __future__ import annotations

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Context, OperationError
from meta.sandbox.argo.operator.durations import duration
from meta.sandbox.argo.state.caches import CacheError
from meta.sandbox.argo.state.status import MemoizationStatus, NodeStatus, NodeType, Phase


def look_up(context: Context, memoize: m.Memoize) -> tuple[MemoizationStatus, m.Outputs | None]:
    """What a node that begins finds in the cache.

    Raises:
        OperationError: the cache cannot be read, or `maxAge` is no duration.
    """
    cache = context.workflow.metadata.namespace, memoize.cache.config_map.name or ""
    try:
        entry = context.shared.caches.load(cache, memoize.key, context.now)
    except CacheError as error:
        raise OperationError(str(error)) from error
    hit = entry is not None and bool(entry.node_id)
    if hit and entry is not None and memoize.max_age:
        try:
            hit = context.now - entry.creation_timestamp <= duration(memoize.max_age)
        except OperationError as error:
            raise OperationError(f"invalid maxAge: {error}") from error
    return MemoizationStatus(hit=hit, key=memoize.key, cache_name=cache[1]), entry.outputs if hit and entry else None


def mark(node: NodeStatus, memoize: m.Memoize | None) -> None:
    """Say of a node that its outputs are to be cached."""
    if memoize is not None and node.memoization_status is None:
        name = memoize.cache.config_map.name or ""
        node.memoization_status = MemoizationStatus(hit=False, key=memoize.key, cache_name=name)


def remember(context: Context, node: NodeStatus) -> None:
    """Cache what a pod, a request, or steps or a DAG, gave; nothing of what failed."""
    status = node.memoization_status
    cached = {NodeType.POD, NodeType.STEPS, NodeType.DAG, NodeType.HTTP}
    if status is None or status.hit or node.phase is not Phase.SUCCEEDED or node.type not in cached:
        return
    cache = context.workflow.metadata.namespace, status.cache_name
    try:
        context.shared.caches.save(cache, status.key, node.id, node.outputs, context.now)
    except CacheError as error:
        context.nodes.mark(node, Phase.ERROR, str(error))
