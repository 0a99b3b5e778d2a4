"""What a Workflow is given against what it, or the template that it runs, declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from workers.engines.json_view import child, children, text
from workflows.errors import InputsInvalid
from workflows.manifests import argo_text, definition_name, engine_name, inspect_argo
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue


def declared_arguments(spec: JsonObject, template: JsonObject | None) -> JsonObject | None:
    """Arguments that a Workflow's spec and the template that it refers to declare together; the Workflow's win.

    Args:
        spec: of the Workflow.
        template: that `workflowTemplateRef` names; None when there is none, or it could not be read.

    Returns:
        The value of an `arguments`; None when some of them cannot be known.
    """
    own = child(spec, "arguments")
    if not child(spec, "workflowTemplateRef"):
        return own
    if template is None or child(template, "spec", "workflowTemplateRef"):
        return None
    theirs = child(template, "spec", "arguments")
    return {kind: _joined(children(theirs, kind), children(own, kind)) for kind in ("parameters", "artifacts")}


def _joined(below: list[JsonObject], above: list[JsonObject]) -> list[JsonValue]:
    entries = {text(entry, "name"): entry for entry in below}
    for entry in above:
        name = text(entry, "name")
        entries[name] = {**entries.get(name, {}), **entry}
    return list(entries.values())


def check_arguments(
    what: str, declared: JsonObject, parameters: Mapping[str, JsonValue], artifacts: Collection[str]
) -> None:
    """Refuse what would be refused by the server later, or not at all and mean nothing.

    Args:
        what: runs, for messages: "WorkflowTemplate 'train'".
        declared: as `declared_arguments` gives it.
        parameters: by the definition's names.
        artifacts: names of those that are passed.

    Raises:
        InputsInvalid: unknown names, required ones that are missing, values that `enum` does not allow; all at once.
    """
    info = inspect_argo({"spec": {"arguments": declared}})
    known, inputs = info.parameters or {}, info.artifacts or {}
    given = {engine_name(name, known): (name, value) for name, value in parameters.items()}
    passed = {engine_name(name, inputs): name for name in artifacts}
    problems: list[tuple[str, str]] = []
    for name, (asked, value) in given.items():
        if name not in known:
            hint = did_you_mean(asked, map(definition_name, known), what="parameters")
            problems.append((f"it has no parameter '{asked}'", hint))
        elif (choices := known[name].choices) and argo_text(value) not in choices:
            allowed = [argo_text(choice) for choice in choices]
            hint = did_you_mean(argo_text(value), allowed, what="its values")
            problems.append((f"parameter '{asked}' cannot be {argo_text(value)!r}", hint))
    for name, asked in passed.items():
        if name not in inputs:
            hint = did_you_mean(asked, map(definition_name, inputs), what="artifacts")
            problems.append((f"it has no input artifact '{asked}' under spec.arguments", hint))
    missing = [f"parameter '{definition_name(n)}'" for n, p in known.items() if p.required and n not in given]
    missing += [f"artifact '{definition_name(n)}'" for n, needed in inputs.items() if needed and n not in passed]
    problems += [(f"it needs {name}, which has no default", "pass it in the step") for name in missing]
    if problems:
        hints = dict.fromkeys(hint for _, hint in problems if hint)
        raise InputsInvalid(f"{what}: {'; '.join(words for words, _ in problems)}", hint="; ".join(hints))


def names_of(places: Collection[JsonObject], kind: str) -> set[str]:
    """Names that any of several `arguments` declares."""
    return {text(entry, "name") for arguments in places for entry in children(arguments, kind)}


def merge(declared: list[JsonObject], given: Mapping[str, JsonObject], *, drop: Collection[str]) -> list[JsonValue]:
    """Put values into the declared entries, in their order; what the manifest does not declare comes after them."""
    merged: list[JsonValue] = []
    left = dict(given)
    for entry in declared:
        values = left.pop(text(entry, "name"), None)
        merged.append(entry if values is None else {**{k: v for k, v in entry.items() if k not in drop}, **values})
    merged.extend({"name": name, **values} for name, values in left.items())
    return merged
