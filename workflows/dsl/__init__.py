"""Definitions in Python: the same as YAML, typed, so that editors complete and check it.

    from meta.dsl import MetaWorkflow, Retry, argo, kfp

    flow = MetaWorkflow("chain")
    prepare = flow.step("prepare", argo("prepare.yaml"))
    flow.step("train", kfp("train.yaml"), artifacts={"dataset": prepare.artifacts.dataset}, retry=Retry(3))

docs/python-definitions.md has the whole of it.
"""

from workflows.dsl.flow import MetaWorkflow
from workflows.dsl.references import Artifact, Artifacts, Outputs, Step, event, index, item, outcome, run
from workflows.dsl.sources import (
    Cache,
    Each,
    Retry,
    Runs,
    Span,
    Undo,
    activity,
    approval,
    argo,
    kfp,
    wait,
    wait_for,
    workflow,
)
from workflows.dsl.values import Value, cel, choose, greatest, integer, least, number, string

__all__ = [
    "Artifact",
    "Artifacts",
    "Cache",
    "Each",
    "MetaWorkflow",
    "Outputs",
    "Retry",
    "Runs",
    "Span",
    "Step",
    "Undo",
    "Value",
    "activity",
    "approval",
    "argo",
    "cel",
    "choose",
    "event",
    "greatest",
    "index",
    "integer",
    "item",
    "kfp",
    "least",
    "number",
    "outcome",
    "run",
    "string",
    "wait",
    "wait_for",
    "workflow",
]
