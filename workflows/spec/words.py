"""What pydantic finds wrong with a definition, in the user's words."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from workflows.errors import Problem
from workflows.inputs import show
from workflows.spec.base import LABEL, NAME
from workflows.spec.locate import Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.spec.trigger_models import STREAM
from workflows.spec.unions import EXPECTED, Fault, faults_of
from workflows.suggest import did_you_mean
from workflows.values import JsonValue

_BOOLEANS = "YAML 1.2 has no other booleans"
_WORDS = ("yes", "no", "on", "off")
_PATTERNS = {
    NAME: "a name has lower-case letters, digits and underscores, and begins with a letter",
    LABEL: "a name has lower-case letters, digits and hyphens, begins with a letter and ends with a letter or digit",
    STREAM: "a stream's name has letters, digits, hyphens and underscores",
}


def problems_of(error: ValidationError, value: JsonValue, locator: Locator) -> list[Problem]:
    """Every problem that the models found.

    Args:
        error: of `MetaWorkflow.model_validate`.
        value: what was validated.
        locator: where its parts stand.
    """
    return [_problem(fault, value, locator) for fault in faults_of(error, value)]


def _problem(fault: Fault, value: JsonValue, locator: Locator) -> Problem:
    path, details = fault.path, fault.details
    if len(fault.expected) > 1:
        found: JsonValue = details["input"]
        message = f"expected {' or '.join(fault.expected)}, got {_got(found)}"
        hint = _short_form(path, found) or (_BOOLEANS if "true or false" in fault.expected and found in _WORDS else "")
        return locator.problem(path, message, hint=hint)
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "missing":
        known = sorted(str(k) for k in _at(value, path[:-1]))
        near = did_you_mean(str(path[-1]), [k for k in known if k not in _keys(path[:-1])])
        return locator.problem(path[:-1], f"key '{path[-1]}' is missing", hint=near)
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), _keys(path[:-1]), what="keys")
        return locator.problem(path, f"unknown key '{path[-1]}'", hint=hint, key=True)
    is_key = path[-1:] == ("[key]",)
    if is_key:
        path = path[:-1]
    message, hint = _message(kind, context, details["input"], details["msg"])
    return locator.problem(path, message, hint=hint or _short_form(path, details["input"]), key=is_key)


_MAIN_KEY = {"approval": "prompt", "wait": "duration", "workflow": "name", "range": "to", "event": "subject"}


def _short_form(path: Path, found: JsonValue) -> str:
    """The mend where the most important key of something was meant."""
    key = _MAIN_KEY.get(str(path[-1])) if path else None
    return f"write {path[-1]}: {{{key}: ...}}" if key is not None and isinstance(found, str) and len(path) > 2 else ""


def _message(kind: str, context: dict[str, Any], found: JsonValue, fallback: str) -> tuple[str, str]:  # noqa: PLR0911
    if kind in EXPECTED:
        hint = ""
        if kind == "string_type" and isinstance(found, (int, float)):
            hint = f'write it in quotes: "{show(found)}"'
        elif kind == "bool_type" and isinstance(found, str):
            hint = _BOOLEANS
        return f"expected {EXPECTED[kind]}, got {_got(found)}", hint
    if kind in ("enum", "literal_error"):
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        quoted = ", ".join(f"'{word}'" for word in allowed)
        near = did_you_mean(found, allowed) if isinstance(found, str) else ""
        return f"expected {'one of ' if len(allowed) > 1 else ''}{quoted}, got {_got(found)}", near
    if kind == "string_pattern_mismatch":
        return f"{_got(found)} is not a name that can stand here", _PATTERNS.get(str(context["pattern"]), "")
    if kind == "string_too_short":
        return "it must not be empty", ""
    if kind == "string_too_long":
        return f"{_got(found)} is longer than {context['max_length']} characters", ""
    if kind == "too_short":
        return "there must be at least one", ""
    if kind == "too_long":
        return f"there are {context['actual_length']}, {context['max_length']} at most", ""
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}, not {_got(found)}", ""
    if kind == "less_than_equal":
        return f"must be at most {context['le']}, not {_got(found)}", ""
    if kind == "value_error":
        return str(context["error"]), ""
    return fallback[:1].lower() + fallback[1:], ""


def _got(value: JsonValue) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    return "nothing" if value is None else show(value)


def _at(value: JsonValue, path: Path) -> dict[str, JsonValue]:
    for part in path:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value if isinstance(value, dict) else {}


def _keys(path: Path) -> list[str]:
    """The keys that the model at a path has, as they are written in files."""
    current: object = MetaWorkflow
    for part in path:
        model = _model(current)
        if model is not None:
            fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
            current = fields.get(str(part))
        else:
            current = get_args(current)[-1] if get_args(current) else None
    model = _model(current)
    return [f.alias or name for name, f in model.model_fields.items()] if model is not None else []


def _model(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation stands for, alone, optional or annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, list):
        return None
    options = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next((m for o in options if (m := _model(o)) is not None), None)
