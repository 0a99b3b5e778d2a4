"""A resource template as kubectl's command line: action, flags and manifest (getKubectlArguments)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import yaml
from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.resources.kinds import KubectlError, ResourceKind, kind_called, kind_of

ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
STRATEGIES = ("strategic", "merge", "json")
NO_EFFECT = frozenset(
    {"validate", "wait", "timeout", "grace-period", "now", "field-manager", "cascade", "ignore-not-found"}
)
"""Flags without effect here: nothing is validated less, and what is deleted is gone at once.

`cascade` only as background or foreground, `ignore-not-found` only where it is so anyhow, or it is read.
"""
_SELECTOR = frozenset({"selector", "l"})
_NAMESPACE = frozenset({"namespace", "n"})
_SWITCHES = frozenset({"validate", "wait", "now", "ignore-not-found", "cascade"})  # may stand without a value
_FLAG = re.compile(r"--?([a-z][a-z-]*)(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Flags:
    """What stands on the command line besides action and manifest."""

    words: tuple[str, ...] = ()
    selector: str | None = None
    namespace: str | None = None
    ignore_missing: bool = False

    def targets(self) -> tuple[ResourceKind, list[str]] | None:
        """The kind and the names that are given by words: `TYPE NAME...`, `TYPE/NAME...`; None for no words.

        Raises:
            KubectlError: not a kind of the sandbox's, or several.
        """
        if not self.words:
            return None
        if all("/" in word for word in self.words):
            kinds = {kind_called(word.partition("/")[0]).title for word in self.words}
            if len(kinds) > 1:
                raise KubectlError("flags that name several kinds are not supported by the sandbox")
            return kind_called(kinds.pop()), [word.partition("/")[2] for word in self.words]
        kind, *names = self.words
        return kind_called(kind), names


def read_flags(action: str, flags: Sequence[str]) -> Flags:
    """Take the flags apart.

    Raises:
        KubectlError: one that the sandbox does not know.
    """
    words: list[str] = []
    found: dict[str, str] = {}
    rest = list(flags)
    while rest:
        flag = rest.pop(0)
        match = _FLAG.fullmatch(flag)
        if match is None:
            words.append(flag)
            continue
        name, value = match[1], match[2]
        if value is None:
            value = "true" if name in _SWITCHES or not rest else rest.pop(0)
        known = name in NO_EFFECT | _NAMESPACE or (name in _SELECTOR and action == "delete")
        if not known or (name == "cascade" and value == "orphan"):
            raise KubectlError(f"flag {flag} of kubectl {action} is not supported by the sandbox")
        key = "selector" if name in _SELECTOR else "namespace" if name in _NAMESPACE else name
        found[key] = value
    ignored = found.get("ignore-not-found") == "true"
    return Flags(tuple(words), found.get("selector"), found.get("namespace"), ignored)


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be done, to which objects.

    Attributes:
        names: of the objects; none where a selector chooses them, or where a name is to be made.
        body: the manifest or the patch.
    """

    action: str
    strategy: str
    kind: ResourceKind
    names: list[str]
    flags: Flags
    body: JsonValue = None


def read_manifest(text: str) -> JsonValue:
    """A manifest's YAML.

    Raises:
        KubectlError: not YAML, or not one document.
    """
    try:
        documents = cast("list[JsonValue]", [d for d in yaml.load_all(text, Loader=_Loader) if d is not None])
    except yaml.YAMLError as error:
        raise KubectlError(f"error: error parsing /tmp/manifest.yaml: {error}") from error
    if len(documents) > 1:
        raise KubectlError("a manifest of several objects is not supported by the sandbox")
    return documents[0] if documents else None


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: without times."""


_Loader.yaml_implicit_resolvers = {  # pyright: ignore[reportUnknownMemberType]
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
}


def read_command(resource: m.ResourceTemplate, namespace: str) -> Command:
    """The command of a template whose tags are replaced.

    Raises:
        KubectlError: kubectl, or the sandbox, refuses it.
    """
    action, strategy = resource.action, resource.merge_strategy or "strategic"
    if action not in ACTIONS:
        raise KubectlError(f'unknown command "{action}" for "kubectl"')
    if strategy not in STRATEGIES:
        raise KubectlError(f"error: --type must be one of [json merge strategic], not {strategy!r}")
    flags, body = read_flags(action, resource.flags or []), read_manifest(resource.manifest or "")
    if body is None and not resource.flags:
        raise KubectlError("Must provide at least one of flags or manifest.")
    targets = flags.targets()
    patches_words = action == "patch" and (strategy == "json" or (targets is not None and not _has_kind(body)))
    if targets is not None and (body is None or patches_words):
        kind, names = targets
        _check_namespace(flags.namespace, namespace)
        if not names and flags.selector is None:
            raise KubectlError("error: resource(s) were provided, but no name was specified")
        return Command(action, strategy, kind, names, flags, body)
    if targets is not None:
        raise KubectlError(
            "error: when paths, URLs, or stdin is provided as resource input, "
            "you may not specify resource arguments as well"
        )
    if not isinstance(body, dict):
        raise KubectlError("error: error validating the manifest: it is not an object")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise KubectlError("error: error validating the manifest: metadata is required")
    _check_namespace(metadata.get("namespace") or flags.namespace, namespace)
    name = metadata.get("name")
    if not name and action != "create":
        raise KubectlError("error: resource name may not be empty")
    kind = kind_of(body.get("apiVersion"), body.get("kind"))
    return Command(action, strategy, kind, [str(name)] if name else [], flags, body)


def _has_kind(body: JsonValue) -> bool:
    return isinstance(body, dict) and body.get("kind") is not None


def _check_namespace(asked: JsonValue, namespace: str) -> None:
    if asked not in (None, "", namespace):
        raise KubectlError(
            f'Error from server (Forbidden): the sandbox manages the namespace "{namespace}" only, not "{asked}"'
        )
