"""Names of span attributes: OpenTelemetry's semantic conventions where they have one, else `meta.*`.

https://opentelemetry.io/docs/specs/semconv/registry/attributes/ ; a test compares them with the official package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meta.trace.model import Attribute

# By the semantic conventions
PIPELINE_NAME: Final = "cicd.pipeline.name"
PIPELINE_RUN_ID: Final = "cicd.pipeline.run.id"
PIPELINE_RESULT: Final = "cicd.pipeline.result"
TASK_NAME: Final = "cicd.pipeline.task.name"
TASK_RUN_ID: Final = "cicd.pipeline.task.run.id"
TASK_RUN_RESULT: Final = "cicd.pipeline.task.run.result"
TASK_RUN_URL: Final = "cicd.pipeline.task.run.url.full"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXIT_CODE: Final = "process.exit.code"
NAMESPACE: Final = "k8s.namespace.name"
POD_NAME: Final = "k8s.pod.name"
URL: Final = "url.full"

# Ours
RUN_ID: Final = "meta.run.id"
RUN_STATE: Final = "meta.run.state"
WORKFLOW: Final = "meta.workflow.name"
BUNDLE: Final = "meta.bundle.digest"
TRIGGER: Final = "meta.trigger"
REQUEST_ID: Final = "meta.request.id"
CAUSE_KIND: Final = "meta.cause.kind"
STEP: Final = "meta.step.name"
STEP_ROLE: Final = "meta.step.role"
STEP_CONTINUED: Final = "meta.step.continued"
STEP_STATE: Final = "meta.step.state"
STEP_NOTE: Final = "meta.step.note"
TAKEN_HOW: Final = "meta.taken.how"
TAKEN_RUN: Final = "meta.taken.run.id"
TAKEN_STEP: Final = "meta.taken.step.name"
RETRY_OF: Final = "meta.retry.of"
MESSAGE: Final = "meta.message"
ATTEMPT: Final = "meta.attempt"
ATTEMPTS: Final = "meta.attempts"
INDEX: Final = "meta.index"
RESUMED: Final = "meta.attempt.resumed"
FAILURE: Final = "meta.failure"
ENGINE: Final = "meta.engine.name"
ENGINE_KIND: Final = "meta.engine.kind"
ENGINE_RUN_NAME: Final = "meta.engine.run.name"
ENGINE_RUN_UID: Final = "meta.engine.run.uid"
ENGINE_RUN_PHASE: Final = "meta.engine.run.phase"
NODES: Final = "meta.nodes"
CACHED_NODES: Final = "meta.nodes.cached"
NODE_ID: Final = "meta.node.id"
NODE_TYPE: Final = "meta.node.type"
NODE_PHASE: Final = "meta.node.phase"
NODE_CACHED: Final = "meta.node.cached"
NODE_TIMES: Final = "meta.node.times"
PROMPT: Final = "meta.approval.prompt"
DIGEST: Final = "meta.approval.digest"
APPROVERS: Final = "meta.approval.approvers"
APPROVED: Final = "meta.approval.approved"
DECIDED_BY: Final = "meta.approval.by"
REASON: Final = "meta.approval.reason"
ACTIVITY: Final = "meta.activity"
TRY: Final = "meta.try"
TRIES: Final = "meta.tries"
WORKER: Final = "meta.worker"
BAGGAGE_PREFIX: Final = "baggage."

OTHER: Final = "_OTHER"
"""`error.type` of what nobody has a word for, by the semantic conventions."""


def given(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    """Without those that are not known: None, or an empty text."""
    return {name: value for name, value in attributes.items() if value is not None and value != ""}
