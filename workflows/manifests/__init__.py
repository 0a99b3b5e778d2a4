"""What the engines' own files declare: parameters, artifacts, outputs; and how names map between them and definitions.

Definition names are `[a-z][a-z0-9_]*`; engines also allow hyphens and capitals. See `engine_name`, `definition_name`.
"""

from workflows.manifests.argo import argo_text, inspect_argo
from workflows.manifests.info import ManifestInfo, ManifestUnreadable, Parameter
from workflows.manifests.inspect import inspect_manifest
from workflows.manifests.kfp import inspect_kfp
from workflows.manifests.names import definition_name, definition_names, engine_name, kfp_artifact_parameter

__all__ = [
    "ManifestInfo",
    "ManifestUnreadable",
    "Parameter",
    "argo_text",
    "definition_name",
    "definition_names",
    "engine_name",
    "inspect_argo",
    "inspect_kfp",
    "inspect_manifest",
    "kfp_artifact_parameter",
]
