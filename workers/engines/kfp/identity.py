"""How a KFP run says whose it is: its display name, and JSON in its description.

Display names are not unique and runs have no labels, so the description carries what Argo has in annotations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from workers.engines.json_view import text
from workflows.naming import MANAGED_BY, RunKey
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class Identity:
    """Run key and spec digest; both empty for a run that is none of ours."""

    key: str = ""
    digest: str = ""


def describe(key: RunKey, digest: str, labels: Mapping[str, str] | None = None) -> str:
    """The description of a run of ours; the engine's labels of the configuration stand in it too."""
    said: JsonObject = {"key": str(key), "digest": digest, "managed-by": MANAGED_BY}
    if labels:
        said["labels"] = {**labels}
    return json.dumps(said)


def identity_of(run: JsonObject) -> Identity:
    """Whose a run is."""
    try:
        value: object = json.loads(text(run, "description"))
    except ValueError:
        return Identity()  # somebody's own words: not ours
    if not isinstance(value, dict):
        return Identity()
    fields = cast("JsonObject", value)
    if text(fields, "managed-by") != MANAGED_BY:
        return Identity()
    return Identity(text(fields, "key"), text(fields, "digest"))
