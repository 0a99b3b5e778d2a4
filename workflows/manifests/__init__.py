"""What the engines' own files declare: parameters, artifacts, outputs; and how names map between them and definitions.

Definition names are `[a-z][a-z0-9_]*`; engines also allow hyphens and capitals. See `engine_name`, `definition_name`.
"""

from workflows.manifests.info import ManifestInfo, ManifestUnreadable, Parameter
from workflows.manifests.inspect import inspect_manifest
from workflows.manifests.names import definition_name, definition_names, engine_name, kfp_artifact_parameter

__all__ = [
    "ManifestInfo",
    "ManifestUnreadable",
    "Parameter",
    "definition_name",
    "definition_names",
    "engine_name",
    "inspect_manifest",
    "kfp_artifact_parameter",
]
