"""ConfigMaps and Secrets from Kubernetes YAML."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from meta.sandbox.kubernetes_objects import KeyReference, KubernetesObjects, MissingObjectError
from workflows.errors import SettingsInvalid

GIVEN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {team: ml}}
data: {mode: fast}
binaryData: {blob: AAE=}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: login}
  type: Opaque
  data: {user: bWU=, password: b2xk}
  stringData: {password: new}
"""


def reference(name: str, key: str, *, optional: bool | None = None) -> KeyReference:
    return cast("KeyReference", SimpleNamespace(name=name, key=key, optional=optional))


def test_objects_are_read_from_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(GIVEN)
    (tmp_path / "README.md").write_text("not an object")
    objects = KubernetesObjects.load([tmp_path])
    settings = objects.find("ConfigMap", "settings")
    assert settings is not None and settings.data == {"mode": b"fast", "blob": b"\x00\x01"}
    assert settings.labels == {"team": "ml"}
    assert objects.value("Secret", reference("login", "user")) == b"me"
    assert objects.value("Secret", reference("login", "password")) == b"new", "stringData wins, as on a cluster"


def test_what_is_missing_is_named_as_kubelet_names_it_unless_it_is_optional(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(GIVEN)
    objects = KubernetesObjects.load([tmp_path / "objects.yaml"])
    with pytest.raises(MissingObjectError, match='secret "other" not found'):
        objects.value("Secret", reference("other", "x"))
    with pytest.raises(MissingObjectError, match="couldn't find key x in Secret login"):
        objects.value("Secret", reference("login", "x"))
    assert objects.value("Secret", reference("other", "x", optional=True)) is None
    assert objects.value("Secret", reference("login", "x", optional=True)) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: Pod\nmetadata: {name: x}", "kind Pod is not known here"),
        ("kind: Secret\nmetadata: {}", "a Secret has no metadata.name"),
        ("kind: Secret\nmetadata: {name: x}\ndata: {a: '%%'}", "Secret x.data.a: is not base64"),
        ("kind: ConfigMap\nmetadata: {name: x}\ndata: {a: 1}", "ConfigMap x.data.a: must be a string"),
        ("kind: ConfigMap\nmetadata: {name: x}\nspec: {}", "unknown field spec"),
        ("kind: ConfigMap\nmetadata: {name: x}\n---\nkind: ConfigMap\nmetadata: {name: x}", "ConfigMap x stands twice"),
        ("a: [", "cannot be read as Kubernetes YAML"),
        ("- a", "a document is no Kubernetes object but list"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid, match=reason):
        KubernetesObjects.load([file])


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="there is no such file or folder"):
        KubernetesObjects.load([tmp_path / "no"])
