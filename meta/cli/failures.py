"""What a failed step shows: by which nodes it failed, their last lines, and where the rest is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from workflows.messages import StepSnapshot
from workflows.outcome import EngineRunRef, FailedNode, StepKind, StepState

FAILED = (StepState.FAILED, StepState.LOST, StepState.TIMED_OUT)

_KFP_NAMESPACE = "kubeflow"  # where KFP runs pods when it is not told of users' namespaces
_KFP_LABEL = "pipeline/runid"  # on each pod of a run: LabelKeyWorkflowRunId of backend/src/common/util/consts.go


def print_failure(console: Console, run_id: str, step: StepSnapshot) -> None:
    """Say what is known of a step's failure beside its message; nothing of a step that has not failed."""
    if step.state not in FAILED and not any(node.log for node in step.failed_nodes):
        return
    for node in step.failed_nodes:
        _print_node(console, step, node)
    for line in where_to_look(run_id, step):
        console.print(Text(f"  {line}", style="dim"), soft_wrap=True)


def where_to_look(run_id: str, step: StepSnapshot) -> Iterator[str]:
    """What to call or open for the whole logs of a step; nothing when no engine has run anything for it."""
    if step.run is None:
        return
    if step.kind is StepKind.KFP:
        yield f"what KFP says of its tasks: meta logs {run_id} {step.name}"
        yield f"their logs, which KFP's API has not: {kubectl_logs(step.run)}"
    else:
        yield f"all of them: meta logs {run_id} {step.name}"
    if step.run.url:
        yield f"at the engine: {step.run.url}"


def kubectl_logs(ref: EngineRunRef) -> str:
    """The command for the logs of a KFP run's pods, for as long as the pods are there."""
    words = ["kubectl", "logs", "-n", ref.namespace or _KFP_NAMESPACE, "-l", f"{_KFP_LABEL}={ref.uid}"]
    return f"{shlex.join(words)} --all-containers --prefix --tail=-1"


def _print_node(console: Console, step: StepSnapshot, node: FailedNode) -> None:
    code = f" (exit code {node.exit_code})" if node.exit_code is not None else ""
    if not node.log:
        said = node.message.strip().splitlines()
        words = f": {said[0]}" if said else ""
        console.print(Text(f"{step.name}: {node.name}{code} {node.phase}".rstrip() + words), soft_wrap=True)
        return
    console.print(Text(f"{step.name}: last lines of {node.name}{code}", style="bold"), soft_wrap=True)
    for line in node.log:
        console.print(Text(f"  | {line}"), soft_wrap=True)
