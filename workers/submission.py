"""From a resolved step and its bundle to what an engine is asked to run."""

from __future__ import annotations

from workers.engines.base import Submission
from workers.engines.trace_context import harmless
from workflows.bundle import Bundle
from workflows.messages import SubmitStep
from workflows.spec.steps import Step
from workflows.trace import context_of
from workflows.values import JsonObject, canonical_json, digest_of


def make_submission(message: SubmitStep, bundle: Bundle, sampling: float = 1.0) -> Submission:
    """Put together what the engine gets; the same message and bundle always give the same.

    Args:
        message: of the workflow.
        bundle: that the message names.
        sampling: ratio of traces that are exported; the context that goes into the engine run says it.
    """
    step = bundle.definition.step(message.key.step)
    if message.choice is not None:
        step = step.settled(message.choice.engine, message.choice.kind)
    manifest = None if step.file is None else bundle.files[step.file]
    return Submission(
        workflow=message.definition_name,
        key=message.key,
        name=message.name,
        source=step.engine_source,
        manifest=manifest,
        parameters=message.resolved.parameters,
        artifacts=message.resolved.artifacts,
        spec_digest=_spec_digest(message, step, manifest),
        trace=harmless(context_of(message.key, message.trace, sampling)),
    )


def _spec_digest(message: SubmitStep, step: Step, manifest: str | None) -> str:
    """Digest of everything that decides what runs, but the key and the trace context."""
    return digest_of(
        canonical_json(
            {
                "source": _source(step),
                "manifest": None if manifest is None else digest_of(manifest.encode()),
                "parameters": message.resolved.parameters,
                "artifacts": {name: [a.uri, a.sha256] for name, a in message.resolved.artifacts.items()},
            }
        )
    )


_LATER = ("cron_workflow", "service_account", "pipeline_root")
"""Keys that sources have got since digests are made: unset they do not count, so that older runs are still ours."""


def _source(step: Step) -> JsonObject:
    source: JsonObject = step.engine_source.model_dump(mode="json")
    return {key: value for key, value in source.items() if value is not None or key not in _LATER}
