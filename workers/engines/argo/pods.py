"""Names of the pods that Argo's nodes run in."""

from __future__ import annotations

from workers.engines.json_view import child, text
from workflows.values import JsonObject

_POD_NAMES = "workflows.argoproj.io/pod-name-format"
_LONGEST_PREFIX = 252 - 10  # Kubernetes' longest name, less the hash: maxPrefixLength of workflow/util/pod_name.go


def pod_name(workflow: JsonObject, node_id: str) -> str:
    """The name of a node's pod (`GeneratePodName` of workflow/util/pod_name.go).

    The hash at its end is the one at the end of the node's id.
    """
    name = text(workflow, "metadata", "name")
    annotations = child(workflow, "metadata", "annotations")
    if node_id == name or annotations.get(_POD_NAMES) == "v1":
        return node_id
    node = child(workflow, "status", "nodes", node_id)
    template = text(node, "templateRef", "template") or text(node, "templateName")
    prefix = f"{name}-{template}" if template else name
    return f"{prefix[:_LONGEST_PREFIX]}-{node_id.rsplit('-', 1)[-1]}"
