"""Where an output artifact of a Workflow is, from what its status says of it.

The executor writes an artifact's key alone when the rest of the place is the template's `archiveLocation` or, where
that is not complete, the artifact repository (`addArchiveLocation` in workflow/controller/workflowpod.go,
`saveArtifactFromFile` in workflow/executor/executor.go, `ArtifactLocation.Relocate`).
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.engines.json_view import child, children, text
from workflows.values import JsonObject

ARCHIVE = "archive"
"""Key in an artifact's metadata that says how Argo packed it."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of store stands in an artifact: what of it makes the URI, and what a complete place has."""

    field: str
    scheme: str
    bucket: str = "bucket"
    key: str = "key"
    complete: tuple[str, ...] = ("bucket", "key")


_KINDS = (
    _Kind("s3", "s3", complete=("endpoint", "bucket", "key")),
    _Kind("gcs", "gs"),
    _Kind("azure", "az", "container", "blob", ("endpoint", "container", "blob")),
    _Kind("oss", "oss", complete=("endpoint", "bucket", "key")),
)


def locate(artifact: JsonObject, workflow: JsonObject) -> str:
    """The URI of an output artifact; empty when it is in no store that has addresses (raw, git, hdfs).

    A key whose bucket nothing tells gives an address without one (`s3:///key`): who reads it, is told so.
    """
    if url := text(artifact, "http", "url"):
        return url
    for kind in _KINDS:
        location = child(artifact, kind.field)
        if key := text(location, kind.key):
            bucket = text(location, kind.bucket) or _inherited(workflow, kind, key)
            return f"{kind.scheme}://{bucket}/{key.lstrip('/')}"
    return ""


def packing(artifact: JsonObject) -> str:
    """How the executor packed an output: `tar+gzip`, its default for files and directories alike, `zip`, or empty."""
    archive = child(artifact, "archive")
    if "none" in archive or not text(artifact, "path"):
        return ""
    return "zip" if "zip" in archive else "tar+gzip"


def _inherited(workflow: JsonObject, kind: _Kind, key: str) -> str:
    """Bucket of a key: of the template whose pod wrote it, else of the workflow's artifact repository."""
    for node in child(workflow, "status", "nodes").values():
        if not isinstance(node, dict) or text(node, "type") not in ("Pod", "Container"):
            continue
        if any(text(one, kind.field, kind.key) == key for one in children(node, "outputs", "artifacts")):
            place = child(_template(workflow, node), "archiveLocation", kind.field)
            if all(text(place, field) for field in kind.complete):
                return text(place, kind.bucket)
    return text(workflow, "status", "artifactRepositoryRef", "artifactRepository", kind.field, kind.bucket)


def _template(workflow: JsonObject, node: JsonObject) -> JsonObject:
    """The template of a node: of the workflow, of the WorkflowTemplate that it is made from, or of one it refers to.

    `status.storedTemplates` has those of others under `namespaced/NAME/TEMPLATE` or `cluster/NAME/TEMPLATE`.
    """
    reference, name = child(node, "templateRef"), text(node, "templateName")
    stored = child(workflow, "status", "storedTemplates")
    if reference:
        scope = "cluster" if reference.get("clusterScope") is True else "namespaced"
        return child(stored, f"{scope}/{text(reference, 'name')}/{text(reference, 'template')}")
    if found := child(stored, f"{text(node, 'templateScope')}/{name}"):
        return found
    own = children(workflow, "spec", "templates")
    own += children(workflow, "status", "storedWorkflowTemplateSpec", "templates")
    for template in own:
        if text(template, "name") == name:
            return template
    return {}
