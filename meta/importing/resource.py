"""A Workflow that a sensor creates, as the manifest of a step."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import cast

import yaml

from meta.importing.documents import At
from meta.importing.draft import StepDraft
from meta.importing.parameters import Parameter, by_place, not_a_place
from meta.importing.paths import NotCarried
from meta.importing.places import Keys, get, keys_of, put
from meta.importing.report import Report
from workflows.manifests.view import obj, objects, text
from workflows.values import JsonObject, JsonValue
from workflows.yaml_text import yaml_text

_KEPT = ("labels", "annotations")
_NEVER = frozenset({"name", "template", "templateRef"})
_ARGUMENT = re.compile(r"^spec\.arguments\.parameters\.(\d+)\.value$")


@dataclass
class Resource:
    """A manifest in the making.

    Attributes:
        places: parameters of the manifest that events decide, with what stands there and who changes it.
    """

    document: JsonObject
    at: At
    places: list[tuple[str, str | None, list[Parameter]]] = field(
        default_factory=list[tuple[str, str | None, list[Parameter]]]
    )

    def text(self) -> str:
        return yaml_text(self.document)

    def step(self, name: str) -> StepDraft:
        file = f"{name.replace('_', '-')}.yaml"
        return StepDraft(name, {"argo": {"manifest": file}}, files={file: self.text()})


def resource_of(source: At) -> Resource:
    """The object that a trigger's `source` holds.

    Raises:
        NotCarried: it is elsewhere, or is no Workflow.
    """
    if "resource" in source:
        at = source["resource"]
        document = copy.deepcopy(at.object())
    elif "inline" in source:
        at = source["inline"]
        try:
            loaded = cast(object, yaml.safe_load(source.text("inline")))
        except yaml.YAMLError as error:
            raise NotCarried(f"the inline manifest is no YAML: {error}") from error
        if not isinstance(loaded, dict):
            raise NotCarried("the inline manifest is no object")
        document = cast(JsonObject, loaded)
    else:
        where = ", ".join(key for key, _ in source.entries()) or "nothing"
        raise NotCarried(f"the manifest is not in the sensor but in: {where}")
    kind = text(document, "kind")
    if not text(document, "apiVersion").startswith("argoproj.io/"):
        raise NotCarried(f"a {kind or 'resource'} of {text(document, 'apiVersion') or 'no API'} is no Argo Workflow")
    return Resource(document, at)


def make_standalone(resource: Resource, report: Report) -> None:
    """Leave what a manifest needs: the service names each run, and the engine has its namespace."""
    metadata = obj(resource.document, "metadata")
    base = text(metadata, "generateName") or f"{text(metadata, 'name') or 'imported'}-"
    kept: JsonObject = {"generateName": base}
    for key, value in metadata.items():
        if key in _KEPT:
            kept[key] = value
        elif key == "namespace":
            report.differs(
                resource.at["metadata"]["namespace"],
                f"the Workflow is created in namespace '{value}'; here in that of the engine in meta.toml",
                f'set namespace = "{value}" of the engine, or name another engine in the step',
            )
        elif key not in ("name", "generateName"):
            report.left_out(resource.at["metadata"][key], f"metadata.{key} is not kept in a manifest")
    spec = obj(resource.document, "spec")
    resource.document = {
        "apiVersion": resource.document["apiVersion"], "kind": "Workflow", "metadata": kept, "spec": spec,
    }  # fmt: skip


def apply(resource: Resource, parameters: list[Parameter], report: Report) -> None:
    """Put each parameter where it belongs: an argument, a field of a template, or nowhere."""
    for dest, changes in by_place(parameters).items():
        if match := _ARGUMENT.match(dest):
            _argument(resource, int(match[1]), changes, report)
            continue
        try:
            keys = keys_of(dest, resource.document)
        except NotCarried as reason:
            not_a_place(changes, report, str(reason))
            continue
        constants = [one.constant for one in changes]
        allowed = keys[:1] == ("spec",) or keys[:2] in (("metadata", "labels"), ("metadata", "annotations"))
        if allowed and all(constant is not None for constant in constants):
            put(resource.document, keys, constants[-1])
        elif keys[:2] == ("spec", "templates") and not _NEVER & set(keys) and len(keys) > 3:
            _field(resource, keys, changes, report)
        else:
            not_a_place(changes, report, f"'{dest}' cannot depend on an event: it is no parameter of the Workflow")


def _argument(resource: Resource, position: int, changes: list[Parameter], report: Report) -> None:
    declared = objects(resource.document, "spec", "arguments", "parameters")
    if position >= len(declared):
        why = f"the Workflow has {len(declared)} parameters under spec.arguments, and this is number {position + 1}"
        not_a_place(changes, report, why)
        return
    resource.places.append((text(declared[position], "name"), _existing(declared[position].get("value")), changes))


def _field(resource: Resource, keys: Keys, changes: list[Parameter], report: Report) -> None:
    """A field of a template becomes a parameter of the Workflow, which Argo puts in there."""
    existing = get(resource.document, keys)
    if isinstance(existing, (dict, list)):
        not_a_place(changes, report, "a part of a template with keys or a list of its own cannot depend on an event")
        return
    spec = obj(resource.document, "spec")
    arguments = spec.setdefault("arguments", {})
    taken = {text(one, "name") for one in objects(resource.document, "spec", "arguments", "parameters")}
    words = [str(key) for key in keys if isinstance(key, str)]
    base = words[-1]
    name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 999))) if n not in taken)
    if isinstance(arguments, dict):
        entries = arguments.setdefault("parameters", [])
        entry: JsonObject = {"name": name}
        if existing is not None:
            entry["value"] = _existing(existing)
        if isinstance(entries, list):
            entries.append(entry)
    put(resource.document, keys, "{{workflow.parameters." + name + "}}")
    report.differs(
        changes[0].at, f"'{'.'.join(map(str, keys))}' is changed in the Workflow; here it is its new parameter '{name}'"
    )
    resource.places.append((name, _existing(existing), changes))


def _existing(value: JsonValue) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return yaml.safe_dump(value).partition("\n")[0] if not isinstance(value, bool) else str(value).lower()
