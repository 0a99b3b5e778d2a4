"""`metadata` of a manifest, as Kubernetes checks it."""

from __future__ import annotations

import re
import secrets
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.state.metadata import Metadata
from meta.sandbox.argo.state.status import JsonObject

_DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' letters for generated names
_LONGEST = 63


def read_metadata(raw: JsonObject, namespace: str, kind: str = "Workflow", longest: int = _LONGEST) -> Metadata:
    """Check `metadata`; a name is made where only a prefix is given.

    Args:
        raw: the manifest's `metadata`.
        namespace: of the request's path; empty for a cluster's object.
        kind: of the object, for messages.
        longest: the longest name, in characters.

    Raises:
        ManifestError: it is refused.
    """
    name, prefix = raw.get("name") or "", raw.get("generateName") or ""
    if not isinstance(name, str) or not isinstance(prefix, str):
        raise ManifestError("metadata.name and metadata.generateName must be strings")
    if raw.get("namespace") not in (None, "", namespace) and namespace:
        raise ManifestError("the namespace of the provided object does not match the namespace sent on the request")
    if not name and prefix:
        name = prefix[: _LONGEST - 5] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    if not name:
        raise ManifestError(
            f'{kind}.argoproj.io "" is invalid: metadata.name: Required value: name or generateName is required'
        )
    if len(name) > longest:
        words = re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower()
        raise ManifestError(
            f'{words} name "{name}" must not be more than {longest} characters long (currently {len(name)})'
        )
    if not _DNS.fullmatch(name):
        raise ManifestError(
            f'{kind}.argoproj.io "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 '
            "subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
            "alphanumeric character"
        )
    return Metadata(
        name=name,
        namespace=namespace,
        generate_name=prefix or None,
        labels=_strings(raw, "labels"),
        annotations=_strings(raw, "annotations"),
    )


def _strings(raw: JsonObject, key: str) -> dict[str, str]:
    value: JsonValue = raw.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ManifestError(f"metadata.{key} must be an object of strings")
    return cast("dict[str, str]", dict(value))
