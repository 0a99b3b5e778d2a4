"""Protobuf messages about orphans as views."""

from __future__ import annotations

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from meta.client.views import EndedOrphan, EngineProblem, MissingInfo, OrphanInfo, OrphanNews
from workflows.outcome import EngineKind


def news_of(update: pb.OrphansUpdate) -> OrphanNews | None:
    """What an update says; None for news of a newer service."""
    if update.HasField("orphan"):
        return _orphan(update.orphan)
    if update.HasField("missing"):
        one = update.missing
        run = convert.from_engine_run(one.run, one.engine, EngineKind(one.kind))
        return MissingInfo(meta_run=one.meta_run, step=one.step, run=run)
    if update.HasField("problem"):
        problem = update.problem
        return EngineProblem(engine=problem.engine, message=problem.message, hint=problem.hint)
    if update.HasField("ended"):
        end = update.ended
        return EndedOrphan(engine=end.engine, name=end.run.name, uid=end.run.uid, ended=end.ended, message=end.message)
    return None


def _orphan(orphan: pb.Orphan) -> OrphanInfo:
    return OrphanInfo(
        run=convert.from_engine_run(orphan.run, orphan.engine, EngineKind(orphan.kind)),
        key=orphan.key,
        meta_run=orphan.meta_run,
        state=orphan.state,
        reason=orphan.reason,
        detail=orphan.detail,
        swept=orphan.swept,
        created_at=convert.from_timestamp(orphan.created_at if orphan.HasField("created_at") else None),
    )
