"""The sandbox's own objects as kubectl sees them: whole, with `apiVersion` and `kind`."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.api.errors import ApiError
from meta.sandbox.argo.api.request import Server
from meta.sandbox.argo.api.starting import start
from meta.sandbox.argo.manifest.create import create_object
from meta.sandbox.argo.manifest.metadata import read_metadata
from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.manifest.supported import check_fields
from meta.sandbox.argo.resources.kinds import KINDS, KubectlError, ResourceKind
from meta.sandbox.argo.state.objects import AlreadyExistsError
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.workflow import Workflow
from workflows.errors import SettingsInvalid

_ERRORS: Mapping[str, str] = {"ALREADY_EXISTS": "AlreadyExists", "NOT_FOUND": "NotFound"}
_CHANGEABLE = frozenset({"suspend", "shutdown"})
"""What may be changed in the spec of a workflow that is there."""


class Cluster:
    """What resource templates act on."""

    def __init__(self, server: Server, claims: Path) -> None:
        """Look at a server's objects; `claims`: the folder of the PersistentVolumeClaims."""
        self._server, self._claims = server, claims

    def get(self, kind: ResourceKind, name: str) -> JsonObject | None:
        store, namespace = self._server.store, self._server.namespace
        if kind.template is not None:
            found = store.objects.get(kind.template, namespace, name)
            return None if found is None else _typed(kind, found.render())
        if kind.custom:
            workflow = store.get(namespace, name)
            return None if workflow is None else _typed(kind, workflow.render())
        return store.core.get(kind.title, name)

    def version(self, kind: ResourceKind, name: str) -> object:
        """Differs when the object has changed; None for none."""
        if kind.custom and kind.template is None:  # not rendered for this: it can be large
            workflow = self._server.store.get(self._server.namespace, name)
            return None if workflow is None else workflow.metadata.resource_version
        body = self.get(kind, name)
        return None if body is None else _metadata(body)["resourceVersion"]

    def names(self, kind: ResourceKind, chosen: Callable[[Mapping[str, str]], bool]) -> list[str]:
        """The names of the objects whose labels are so."""
        return [
            str(_metadata(body)["name"]) for body in self._all(kind)
            if chosen(cast("dict[str, str]", _metadata(body).get("labels", {})))
        ]  # fmt: skip

    def with_uid(self, kind: ResourceKind, uid: str) -> str | None:
        """The name of the object that has an identity."""
        return next((str(_metadata(b)["name"]) for b in self._all(kind) if _metadata(b)["uid"] == uid), None)

    def _all(self, kind: ResourceKind) -> list[JsonObject]:
        store, namespace = self._server.store, self._server.namespace
        if kind.template is not None:
            return [found.render() for found in store.objects.all(kind.template, namespace)]
        if kind.custom:
            return [workflow.render() for workflow in store.all(namespace)]
        return store.core.all(kind.title)

    def create(self, kind: ResourceKind, body: JsonObject, uid: str, owners: list[JsonObject]) -> str:
        """Make an object of that identity.

        Returns:
            Its name.

        Raises:
            KubectlError: it is there already, or refused.
        """
        server = self._server
        try:
            if kind.template is not None:
                finder = server.store.objects.finder(server.namespace)
                made = create_object(kind.template, body, server.namespace, server.images, finder)
                made.metadata.uid, made.metadata.owner_references = uid, owners
                server.store.objects.add(made)
                return made.metadata.name
            if kind.custom:
                return start(server, server.namespace, body, owners=owners, uid=uid).name
            return self._create_core(kind, body, uid, owners)
        except ApiError as error:
            raise _refused("creating", _ERRORS.get(error.code.name, "Invalid"), error.message) from error
        except AlreadyExistsError as error:
            raise _refused("creating", "AlreadyExists", str(error)) from error
        except (ManifestError, SettingsInvalid) as error:
            raise _refused("creating", "Invalid", str(error)) from error

    def _create_core(self, kind: ResourceKind, body: JsonObject, uid: str, owners: list[JsonObject]) -> str:
        check_fields(body, kind.title)
        metadata = read_metadata(_metadata(body), self._server.namespace, kind.title, longest=253)
        if self.get(kind, metadata.name) is not None:
            raise AlreadyExistsError(f'{kind.plural} "{metadata.name}" already exists')
        metadata.uid, metadata.owner_references = uid, owners
        self._server.store.core.put(
            kind.title, metadata.name, _normal(kind, {**body, "metadata": metadata.render()})
        )  # fmt: skip
        return metadata.name

    def change(self, kind: ResourceKind, name: str, changed: JsonObject) -> None:
        """Put a changed object in the place of the one that is there; what the server gave it stays.

        Raises:
            KubectlError: it is refused, or changes what cannot be changed.
        """
        old = self.get(kind, name)
        if old is None:
            raise kind.missing(name)
        before, after = _metadata(old), _metadata(changed)
        for key in {*before, *after} - {"labels", "annotations"}:
            if after.get(key, before.get(key)) != before.get(key):
                raise _refused("changing", "Invalid", f"metadata.{key} cannot be changed in the sandbox")
        given: JsonObject = {k: after[k] for k in ("name", "labels", "annotations") if k in after}
        try:
            if kind.template is None and kind.custom:
                self._change_workflow(name, old, {**changed, "metadata": given})
            elif kind.template is not None:
                self._change_template(kind, name, {**changed, "metadata": given})
            else:
                check_fields({**{k: v for k, v in changed.items() if k != "status"}, "metadata": given}, kind.title)
                kept: JsonObject = {k: v for k, v in before.items() if k not in {"labels", "annotations"}}
                body = _normal(kind, {**changed, "metadata": {**kept, **given}})
                self._server.store.core.put(kind.title, name, body)
        except (ManifestError, SettingsInvalid) as error:
            raise _refused("changing", "Invalid", str(error)) from error

    def _change_template(self, kind: ResourceKind, name: str, body: JsonObject) -> None:
        assert kind.template is not None  # it is one
        server, objects = self._server, self._server.store.objects
        old = objects.get(kind.template, server.namespace, name)
        assert old is not None  # it was there just now
        new = create_object(kind.template, body, server.namespace, server.images, objects.finder(server.namespace))
        new.status, new.metadata.owner_references = old.status, old.metadata.owner_references
        objects.replace(old, new)

    def _change_workflow(self, name: str, old: JsonObject, new: JsonObject) -> None:
        workflow = self._server.store.get(self._server.namespace, name)
        assert workflow is not None  # it was there just now
        before, after = cast("JsonObject", old["spec"]), cast("JsonObject", new.get("spec") or {})
        differing = {key for key in {*before, *after} if (before.get(key) or None) != (after.get(key) or None)}
        if fixed := sorted(differing - _CHANGEABLE):
            raise ManifestError(f"spec.{fixed[0]} of a Workflow that is there cannot be changed in the sandbox")
        if new.get("status", old["status"]) != old["status"]:
            raise ManifestError("status of a Workflow cannot be changed in the sandbox")
        if after.get("shutdown") not in (None, "", "Stop", "Terminate"):
            raise ManifestError(f"spec.shutdown: {after.get('shutdown')} is neither Stop nor Terminate")
        labels, annotations = (
            read_metadata(_metadata(new), workflow.metadata.namespace).model_dump(include={"labels", "annotations"})
        ).values()

        def apply() -> None:
            workflow.metadata.labels, workflow.metadata.annotations = labels, annotations
            if differing:
                workflow.change_spec(**{key: after.get(key) for key in differing})

        self._server.controller.edit(workflow, apply)

    def delete(self, kind: ResourceKind, name: str) -> None:
        """Take an object away, with all that it owns."""
        store, namespace = self._server.store, self._server.namespace
        body = self.get(kind, name)
        if body is None:
            return
        if kind.template is not None:
            gone = store.objects.get(kind.template, namespace, name)
            assert gone is not None  # it was there just now
            store.objects.remove(gone)
        elif kind.custom:
            workflow = store.get(namespace, name)
            assert workflow is not None  # it was there just now
            self._server.controller.delete(workflow)
            return  # it has told us, as every deletion of a workflow does
        else:
            store.core.remove(kind.title, name)
            if kind.title == "PersistentVolumeClaim":
                shutil.rmtree(self._claims / name, ignore_errors=True)  # a pod may be writing to it: as good as gone
        self.owner_gone(str(_metadata(body)["uid"]))

    def owner_gone(self, uid: str) -> None:
        """Delete what an object owned, as Kubernetes' garbage collector does."""
        for kind in KINDS.values():
            for body in self._owned(kind):
                if any(owner.get("uid") == uid for owner in _owners(body)):
                    self.delete(kind, str(_metadata(body)["name"]))

    def _owned(self, kind: ResourceKind) -> list[JsonObject]:
        store, namespace = self._server.store, self._server.namespace
        if kind.custom and kind.template is None:  # most of them own nothing: not worth rendering
            found: list[Workflow] = [w for w in store.all(namespace) if w.metadata.owner_references]
            return [{"metadata": workflow.metadata.render()} for workflow in found]
        return self._all(kind)


def new_uid() -> str:
    return str(uuid.uuid4())


def _typed(kind: ResourceKind, body: JsonObject) -> JsonObject:
    return {"apiVersion": kind.version, "kind": kind.title, **body}


def _metadata(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body.get("metadata") or {})


def _owners(body: JsonObject) -> list[JsonObject]:
    return cast("list[JsonObject]", _metadata(body).get("ownerReferences") or [])


def _refused(doing: str, reason: str, message: str) -> KubectlError:
    return KubectlError(f'Error from server ({reason}): error when {doing} "/tmp/manifest.yaml": {message}')


def _normal(kind: ResourceKind, body: JsonObject) -> JsonObject:
    """As the API server keeps it: a Secret's plain strings encoded, a claim bound to the folder that it is."""
    result: JsonObject = {**body, "apiVersion": kind.version, "kind": kind.title}
    if kind.title == "Secret":
        plain = cast("dict[str, JsonValue]", result.pop("stringData", None) or {})
        data = cast("JsonObject", result.get("data") or {})
        encoded: JsonObject = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        result["data"] = {**data, **encoded}
        result.setdefault("type", "Opaque")
    elif kind.title == "PersistentVolumeClaim":
        spec = cast("JsonObject", result.get("spec") or {})
        asked = cast("JsonObject", spec.get("resources") or {}).get("requests")
        result["status"] = {"phase": "Bound", "accessModes": spec.get("accessModes"), "capacity": asked}
    return result
