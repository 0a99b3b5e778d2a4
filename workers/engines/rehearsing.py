"""Stand-ins for what a rehearsal cannot know."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from workers.engines.base import Submission, Unknown
from workflows.manifests import ManifestInfo, Parameter, engine_name
from workflows.outcome import Artifact
from workflows.values import JsonValue, ValueType

_SOME: dict[ValueType, JsonValue] = {
    ValueType.STRING: "known in the run",
    ValueType.INTEGER: 1,
    ValueType.NUMBER: 1.0,
    ValueType.BOOLEAN: True,
    ValueType.LIST: [],
    ValueType.OBJECT: {},
}


def with_stand_ins(submission: Submission, unknown: Unknown, declared: ManifestInfo) -> Submission:
    """A submission whose unknown parameters and artifacts have values that the declaration takes.

    Args:
        submission: without them.
        unknown: their names.
        declared: by what is to run; what it does not declare is given a value all the same, so that it is refused.
    """
    known = declared.parameters or {}
    parameters = {name: _some(known.get(engine_name(name, known))) for name in unknown.parameters}
    artifacts = {name: Artifact(name=name, uri=f"s3://known-in-the-run/{name}") for name in unknown.artifacts}
    return replace(
        submission,
        parameters={**submission.parameters, **parameters},
        artifacts={**submission.artifacts, **artifacts},
    )


def fitting(parameters: Collection[str], artifacts: Collection[str]) -> str:
    """What of a submission is taken, in words."""
    names = [
        f"{what} {', '.join(given)}" for what, given in (("parameters", parameters), ("artifacts", artifacts)) if given
    ]
    return f"{'; '.join(names)}" if names else "nothing is passed"


def _some(parameter: Parameter | None) -> JsonValue:
    if parameter is None:
        return _SOME[ValueType.STRING]
    return parameter.choices[0] if parameter.choices else _SOME[parameter.type or ValueType.STRING]
