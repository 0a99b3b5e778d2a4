"""Names that the controller derives: node ids and pod names (workflow/util/pod_name.go, Workflow.NodeID)."""

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193
_MAX_PREFIX = 253 - 10 - 1  # a Kubernetes name's limit, less the hash and its hyphen


def fnv32a(text: str) -> int:
    """The 32-bit FNV-1a hash of a text's UTF-8 bytes."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def node_id(workflow: str, node_name: str) -> str:
    """A node's key in `status.nodes`; the root node's id is the workflow's name."""
    return workflow if node_name == workflow else f"{workflow}-{fnv32a(node_name)}"


def pod_name(workflow: str, node_name: str, template: str) -> str:
    """The pod's name in format v2: workflow, template, hash of the node's name."""
    if node_name == workflow:
        return workflow
    prefix = f"{workflow}-{template}" if template else workflow
    return f"{prefix[:_MAX_PREFIX]}-{fnv32a(node_name)}"
