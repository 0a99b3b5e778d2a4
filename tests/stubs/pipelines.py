"""Compiled pipelines, as small as they can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import yaml

from workflows.values import JsonObject


def pipeline_spec(
    *,
    parameters: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    artifacts: Mapping[str, str] | None = None,
    required: Collection[str] = (),
) -> JsonObject:
    """A pipeline of one task, `train`, that makes all outputs under their own names.

    Args:
        parameters: declared inputs and their parameterType.
        outputs: output parameters and their parameterType.
        artifacts: output artifacts and their schemaTitle.
        required: inputs that must be given; the others are optional.
    """
    outputs, artifacts = outputs or {}, artifacts or {}
    dag: JsonObject = {
        "outputs": {
            "parameters": {
                name: {"valueFromParameter": {"producerSubtask": "train", "outputParameterKey": name}}
                for name in outputs
            },
            "artifacts": {
                name: {"artifactSelectors": [{"producerSubtask": "train", "outputArtifactKey": name}]}
                for name in artifacts
            },
        },
        "tasks": {
            "train": {
                "cachingOptions": {"enableCache": True},
                "componentRef": {"name": "comp-train"},
                "taskInfo": {"name": "train"},
            }
        },
    }
    return {
        "pipelineInfo": {"name": "digits-train"},
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "root": {
            "dag": dag,
            "inputDefinitions": {
                "parameters": {
                    name: {"parameterType": kind, "isOptional": name not in required}
                    for name, kind in (parameters or {}).items()
                }
            },
            "outputDefinitions": {
                "parameters": {name: {"parameterType": kind} for name, kind in outputs.items()},
                "artifacts": {
                    name: {"artifactType": {"schemaTitle": kind, "schemaVersion": "0.0.1"}}
                    for name, kind in artifacts.items()
                },
            },
        },
        "schemaVersion": "2.1.0",
    }


def package(spec: JsonObject) -> str:
    """The text of a compiled pipeline's file."""
    return yaml.safe_dump(spec)
