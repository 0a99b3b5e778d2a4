"""Runs of Argo, of KFP and of whole meta-workflows as calls inside one's own Temporal workflow.

    with workflow.unsafe.imports_passed_through():
        from meta.temporal import argo, kfp

    made = await argo("prepare.yaml", outputs={"rows": int})
    await kfp("train.yaml", parameters={"rows": made.outputs["rows"]}, artifacts={"dataset": made.artifacts["dataset"]})

`MetaPlugin` on the worker makes them work. docs/own-workflows.md has the whole of it.
"""

from meta.temporal.calls import approval, argo, kfp, meta_workflow
from meta.temporal.plugin import MetaPlugin
from meta.temporal.results import META_REJECTED, META_RUN_FAILED, Result
from workflows.dsl.sources import Cache, Retry
from workflows.messages import Decision
from workflows.outcome import Artifact

__all__ = [
    "META_REJECTED",
    "META_RUN_FAILED",
    "Artifact",
    "Cache",
    "Decision",
    "MetaPlugin",
    "Result",
    "Retry",
    "approval",
    "argo",
    "kfp",
    "meta_workflow",
]
