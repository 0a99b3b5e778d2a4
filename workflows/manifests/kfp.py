"""What a compiled KFP pipeline declares.

Source: the pipeline IR (kubeflow/pipelines, api/v2alpha1/pipeline_spec.proto, `PipelineSpec.root`, `ComponentSpec`).
"""

from __future__ import annotations

from workflows.manifests.info import ManifestInfo, Parameter
from workflows.manifests.view import obj, text
from workflows.outcome import EngineKind
from workflows.values import JsonObject, ValueType

_TYPES = {
    "NUMBER_DOUBLE": ValueType.NUMBER,
    "NUMBER_INTEGER": ValueType.INTEGER,
    "STRING": ValueType.STRING,
    "BOOLEAN": ValueType.BOOLEAN,
    "LIST": ValueType.LIST,
    "STRUCT": ValueType.OBJECT,
}


def is_pipeline(document: JsonObject) -> bool:
    """Whether it is a pipeline's IR; a package's second document, the platform spec, is not."""
    return all(isinstance(document.get(key), dict) for key in ("pipelineInfo", "root", "deploymentSpec"))


def inspect_kfp(document: JsonObject) -> ManifestInfo:
    """Read the declarations of a pipeline's root."""
    inputs, outputs = obj(document, "root", "inputDefinitions"), obj(document, "root", "outputDefinitions")
    return ManifestInfo(
        EngineKind.KFP,
        text(obj(document, "pipelineInfo"), "name"),
        parameters={
            name: Parameter(
                required=not (d.get("isOptional") is True or "defaultValue" in d),
                type=_TYPES.get(text(d, "parameterType")),
                choices=tuple(literals) if isinstance(literals := d.get("literals"), list) else (),
            )
            for name, d in _definitions(inputs, "parameters").items()
        },
        artifacts={name: d.get("isOptional") is not True for name, d in _definitions(inputs, "artifacts").items()},
        outputs={name: _TYPES.get(text(d, "parameterType")) for name, d in _definitions(outputs, "parameters").items()},
        output_artifacts=frozenset(_definitions(outputs, "artifacts")),
    )


def _definitions(document: JsonObject, key: str) -> dict[str, JsonObject]:
    return {name: d for name, d in obj(document, key).items() if isinstance(d, dict)}
