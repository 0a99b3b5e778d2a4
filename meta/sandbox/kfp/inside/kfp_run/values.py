# pyright: basic
# (kfp has no types)
"""Values of tasks as events carry them."""

from typing import Any

from kfp import dsl


def join(parent: str, name: str) -> str:
    return f"{parent}/{name}"


def parameters_of(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not holds_artifacts(value)}


def artifacts_of(values: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        key: [
            {"uri": artifact.uri, "type": artifact.schema_title, "metadata": artifact.metadata}
            for artifact in (value if isinstance(value, list) else [value])
        ]
        for key, value in values.items()
        if holds_artifacts(value)
    }


def holds_artifacts(value: Any) -> bool:
    return isinstance(value, dsl.Artifact) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dsl.Artifact) for item in value)
    )
