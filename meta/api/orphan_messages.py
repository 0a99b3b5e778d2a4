"""What is found about orphans as protobuf messages."""

from __future__ import annotations

from meta.api import convert
from meta.api.orphans import EndedOrphan, EngineTrouble, Finding, MissingRun, Orphan
from meta.api.v1 import meta_pb2 as pb


def to_update(finding: Finding) -> pb.OrphansUpdate:
    match finding:
        case Orphan():
            return pb.OrphansUpdate(orphan=_orphan(finding))
        case MissingRun(meta_run, step, ref):
            run = convert.to_engine_run(ref)
            return pb.OrphansUpdate(
                missing=pb.MissingRun(meta_run=meta_run, step=step, engine=ref.engine, kind=ref.kind.value, run=run)
            )
        case EngineTrouble(engine, error):
            return pb.OrphansUpdate(problem=pb.EngineProblem(engine=engine, message=error.message, hint=error.hint))
        case EndedOrphan(orphan, error):
            ref = orphan.run.ref
            return pb.OrphansUpdate(
                ended=pb.EndedOrphan(
                    engine=ref.engine,
                    run=convert.to_engine_run(ref),
                    ended=error is None,
                    message=str(error) if error is not None else "",
                )
            )


def _orphan(orphan: Orphan) -> pb.Orphan:
    ref = orphan.run.ref
    return pb.Orphan(
        engine=ref.engine,
        kind=ref.kind.value,
        run=convert.to_engine_run(ref),
        key=orphan.run.key,
        meta_run=orphan.meta_run,
        state=orphan.run.state,
        reason=orphan.reason.value,
        detail=orphan.detail,
        swept=orphan.swept,
        created_at=convert.to_timestamp(orphan.run.created_at),
    )
