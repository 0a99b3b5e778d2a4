"""Whether the inputs that a trigger gives fit the definition, and what its templates read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from workflows.errors import Problem
from workflows.expressions.events import check_event_expression
from workflows.expressions.templates import TemplateMalformed, parse_template, walk_strings
from workflows.expressions.types import ExprType, fits, of_declared, of_value
from workflows.inputs import type_mismatch
from workflows.spec.locate import Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.suggest import did_you_mean
from workflows.values import JsonValue


def check_trigger_inputs(
    definition: MetaWorkflow, inputs: Mapping[str, JsonValue], at: Path, locate: Locator
) -> Iterator[Problem]:
    """Problems of the inputs that a trigger gives: unknown, missing, of a wrong type, expressions.

    Args:
        definition: declares them.
        inputs: as the trigger has them.
        at: place of the trigger.
        locate: knows the places in the file.
    """
    for name, value in inputs.items():
        path = (*at, "inputs", name)
        declared = definition.inputs.get(name)
        if declared is None:
            hint = did_you_mean(name, definition.inputs, what="inputs")
            yield locate.problem(path, f"unknown input '{name}'", hint=hint, key=True)
            continue
        found, problems = of_value(value), list[Problem]()
        for inner, text in walk_strings(value):
            for problem, returns in check_template((*path, *inner), text, locate):
                if problem is not None:
                    problems.append(problem)
                elif not inner:
                    found = returns
        yield from problems
        literal = not any("${{" in text for _, text in walk_strings(value))
        if problems or (value is None and not declared.is_required):
            continue
        if literal and (fault := type_mismatch(value, declared.type)) is not None:
            yield locate.problem(path, f"input '{name}': {fault}")
        elif not literal and not fits(found, declared.type):
            yield locate.problem(path, f"input '{name}' takes {of_declared(declared.type)}, this is {found}")
    for name, declared in definition.inputs.items():
        if declared.is_required and name not in inputs:
            where: Path = (*at, "inputs") if inputs else at
            hint = "give it under the trigger's 'inputs', as ${{ event.field }}, or give the input a default"
            yield locate.problem(where, f"the trigger gives no '{name}', which has no default", hint=hint, key=True)


def check_template(path: Path, text: str, locate: Locator) -> Iterator[tuple[Problem | None, ExprType]]:
    """Problems of a template over `event`; where there is none, its type."""
    try:
        template = parse_template(text)
    except TemplateMalformed as error:
        yield locate.problem(path, error.message, hint=error.hint, within=(text, error.offset)), ExprType.ANY
        return
    found, wrong = ExprType.STRING, False
    for embedded in template.expressions:
        checked = check_event_expression(embedded.text)
        for issue in checked.issues:
            wrong = True
            yield (
                locate.problem(path, issue.message, hint=issue.hint, within=(embedded.text, issue.offset)),
                ExprType.ANY,
            )
        if checked.returns is ExprType.OTHER:
            wrong = True
            message = f"'{embedded.text}' gives {checked.returns}"
            yield (
                locate.problem(path, message, hint="wrap it in string(...)", within=(embedded.text, 0)),
                ExprType.ANY,
            )
        if template.whole is not None:
            found = checked.returns
    if not wrong:
        yield None, found
