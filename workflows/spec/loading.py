"""From YAML text to a definition, with every problem at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from workflows.errors import DefinitionInvalid, Problem
from workflows.spec.locate import NOWHERE, Locator
from workflows.spec.models import MetaWorkflow
from workflows.spec.salvage import salvage
from workflows.spec.validation import MAX_DEFINITION, validate
from workflows.spec.words import problems_of
from workflows.spec.yaml12 import Document
from workflows.values import JsonValue


@dataclass(frozen=True)
class Parsed:
    """A definition that was read, though perhaps not a valid one.

    Attributes:
        definition: None when its shape is wrong; then `problems` says how.
        locator: where its parts stand.
        problems: what is wrong so far.
        remains: what is left of a definition of a wrong shape, for checks that can still be made.
    """

    definition: MetaWorkflow | None
    locator: Locator
    problems: tuple[Problem, ...]
    remains: MetaWorkflow | None = None


def parse_definition(text: str, file: str = "") -> Parsed:
    """Read a definition as far as its shape; what it means is for `validate` to check."""
    size = len(text.encode(errors="replace"))
    if size > MAX_DEFINITION:
        hint = "keep manifests in files of their own"
        problem = Problem(f"the definition has {size:,} bytes, {MAX_DEFINITION:,} at most", file, hint=hint)
        return Parsed(None, NOWHERE, (problem,))
    document = Document(text.removeprefix("\ufeff"), file)
    problems = tuple(document.problems)
    if problems and document.value is None:
        return Parsed(None, document.locator, problems)
    return parse_value(document.value, document.locator, problems)


def parse_value(value: JsonValue, locator: Locator, problems: Sequence[Problem] = ()) -> Parsed:
    """Read what a definition's text, or a program that builds one, came to.

    Args:
        value: keys and values as in a file.
        locator: where its parts stand.
        problems: what was wrong before.
    """
    found = list(problems)
    try:
        definition = MetaWorkflow.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        found.extend(problems_of(error, value, locator))
        salvaged = salvage(value, error)
        if salvaged is not None:
            found.extend(p for p in validate(salvaged.definition, locator) if not salvaged.explains(p))
        remains = None if salvaged is None else salvaged.definition
        return Parsed(None, locator, tuple(in_order(found)), remains)
    return Parsed(definition, locator, tuple(found))


def load_definition(text: str, file: str = "") -> MetaWorkflow:
    """See `workflows.spec.load_definition`."""
    parsed = parse_definition(text, file)
    problems = list(parsed.problems)
    if parsed.definition is not None:
        problems.extend(validate(parsed.definition, parsed.locator))
    if problems or parsed.definition is None:
        raise DefinitionInvalid(in_order(problems))
    return parsed.definition


def in_order(problems: list[Problem]) -> list[Problem]:
    """Without repeats, in the order of the file."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))
