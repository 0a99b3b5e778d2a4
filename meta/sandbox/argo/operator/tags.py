"""Template tags, `{{name}}` and `{{=expression}}`, in JSON text (util/template).

Replacement works on the JSON of a whole object, as in the real controller, so a tag may stand in any string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

from meta.sandbox.argo.expressions import ExpressionError, Value, as_text, compile_expression, environment

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
EVERY = ("",)  # of `strict`: every tag must be known
ModelT = TypeVar("ModelT", bound=BaseModel)


class SubstitutionError(Exception):
    """A tag cannot be replaced; it becomes the node's message."""


def find_tags(text: str) -> list[str]:
    """The names in all tags of a text, in order."""
    return [match.group(1).strip() for match in _TAG.finditer(text)]


def replace_text(text: str, values: Mapping[str, str | None], *, strict: tuple[str, ...] = ()) -> str:
    """Replace the tags of a JSON text, quoting the values for JSON; unknown tags stay.

    An expression that reads an unknown name, or that has no value, stays as well.

    Args:
        text: JSON.
        values: by name; None is the output of a node that did not run and has no default.
        strict: prefixes (`tasks`) whose tags must be known.

    Raises:
        SubstitutionError: a strict tag is unknown, or its value is None.
    """
    env: dict[str, Value] = {}

    def one(match: re.Match[str]) -> str:
        tag = match.group(1).strip()
        if tag.startswith("="):
            if not env:
                env.update(environment(values))
            found = _computed(str(json.loads(f'"{tag[1:]}"')), env, strict)
            return match.group(0) if found is None else json.dumps(found)[1:-1]
        if tag in values:
            value = values[tag]
            if value is None:
                raise SubstitutionError(
                    f"unable to substitute {{{{{tag}}}}}: output is an absent optional "
                    "(skipped/omitted node with no default)"
                )
            return json.dumps(value)[1:-1]
        if _is_strict(tag, strict) and ".outputs.artifacts." not in tag:
            raise SubstitutionError(f"failed to resolve {{{{{tag}}}}}")
        return match.group(0)

    return _TAG.sub(one, text)


def _is_strict(name: str, strict: tuple[str, ...]) -> bool:
    return strict == EVERY or name.split(".", 1)[0] in strict


def _computed(source: str, env: Mapping[str, Value], strict: tuple[str, ...]) -> str | None:
    """The text that an expression stands for; None while it cannot be known."""
    try:
        program = compile_expression(source)
        missing = program.missing(env)
        for name in missing:
            if _is_strict(name, strict):
                raise SubstitutionError(f"failed to evaluate expression: {name} is missing")
        value = None if missing else program.evaluate(env)
        if value is not None:
            return as_text(value)
    except ExpressionError as error:
        if strict:
            raise SubstitutionError(f"failed to evaluate expression: {error}") from error
        return None
    if strict and not missing:
        raise SubstitutionError(f'failed to evaluate expression "{source}"')
    return None


def replace(model: ModelT, values: Mapping[str, str | None], *, strict: tuple[str, ...] = ()) -> ModelT:
    """A copy of an API object with its tags replaced."""
    text = model.model_dump_json(by_alias=True, exclude_none=True)
    return type(model).model_validate_json(replace_text(text, values, strict=strict))


def replace_string(text: str, values: Mapping[str, str | None], *, strict: tuple[str, ...] = ()) -> str:
    """Replace the tags of a plain string."""
    result: object = json.loads(replace_text(json.dumps(text), values, strict=strict))
    return str(result)
