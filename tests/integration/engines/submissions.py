"""Submissions that the adapters' tests share."""

from __future__ import annotations

from collections.abc import Mapping

from workers.engines.base import Submission
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import Artifact
from workflows.spec.sources import ArgoSource, KfpSource
from workflows.values import JsonObject

WORKFLOW = "chain"

TIMEOUT = 3.0
"""Seconds before a request to a stub counts as unanswered: far more than a busy machine needs for a real answer."""

SETTLE = 0.6
"""Seconds before the second look after an ambiguous answer."""

ARGO_MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: hello-}
spec:
  entrypoint: main
  arguments:
    parameters: [{name: learning-rate, value: 0.1}, {name: other, value: kept}]
    artifacts: [{name: data-set, raw: {data: x}}]
  templates:
    - name: main
      container: {image: busybox, command: [echo]}
"""


def key(step: str = "prepare", attempt: int = 1) -> RunKey:
    return RunKey(meta_run="chain-1", step=step, attempt=attempt)


def argo_submission(
    *,
    run_key: RunKey | None = None,
    digest: str = "sha256:aa",
    manifest: str = ARGO_MANIFEST,
    source: ArgoSource | None = None,
    parameters: JsonObject | None = None,
    artifacts: Mapping[str, Artifact] | None = None,
    trace: Mapping[str, str] | None = None,
) -> Submission:
    run_key = run_key or key()
    return Submission(
        workflow=WORKFLOW,
        key=run_key,
        name=engine_run_name(WORKFLOW, run_key),
        source=source or ArgoSource(manifest="prepare.yaml"),
        manifest=None if source else manifest,
        parameters=parameters or {},
        artifacts=artifacts or {},
        spec_digest=digest,
        trace=trace or {},
    )


def kfp_submission(
    package: str | None,
    *,
    run_key: RunKey | None = None,
    digest: str = "sha256:bb",
    source: KfpSource | None = None,
    parameters: JsonObject | None = None,
    artifacts: Mapping[str, Artifact] | None = None,
    trace: Mapping[str, str] | None = None,
) -> Submission:
    run_key = run_key or key("train")
    return Submission(
        workflow=WORKFLOW,
        key=run_key,
        name=engine_run_name(WORKFLOW, run_key),
        source=source or KfpSource(package="train.yaml"),
        manifest=package,
        parameters=parameters or {},
        artifacts=artifacts or {},
        spec_digest=digest,
        trace=trace or {},
    )


class Pulse:
    """Counts signs of life."""

    def __init__(self) -> None:
        self.beats = 0

    def __call__(self) -> None:
        self.beats += 1
