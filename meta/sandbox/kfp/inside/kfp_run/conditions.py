"""Conditions of tasks, as kfp's compiler writes them: comparisons of the task's inputs with constants, in CEL.

No CEL library is in a run's environment, so they are read as Python, which has the same comparisons; everything that is
neither a text, a number, an input, a conversion nor an operator of that form is refused.
"""

import json
import re
from collections.abc import Mapping

_INPUT = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_PART = re.compile(
    r"""(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<input>inputs\.parameter_values)|(?P<number>-?\d[\w.]*)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<operator>&&|\|\||==|!=|<=|>=|!|[<>()\[\],])|(?P<space>\s+)""",
    re.DOTALL,
)
_OPERATORS = {"&&": " and ", "||": " or ", "!": " not "}
_WORDS = {"true": "True", "false": "False", "null": "None", "int": "int", "double": "double", "string": "string",
          "bool": "bool"}  # fmt: skip


class ConditionError(Exception):
    """A condition that is not of the compiler's form, or cannot be evaluated."""


def as_text(value: object) -> str:
    """A value within a text, as the launcher writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def holds(condition: str, values: Mapping[str, object]) -> bool:
    """Evaluate a condition on the task's own inputs; false where one of them has no value, as of a skipped task.

    Raises:
        ConditionError: it cannot be evaluated.
    """
    if any(name not in values for name in _INPUT.findall(condition)):
        return False
    known: dict[str, object] = {"values": values, "int": int, "double": float, "string": as_text, "bool": bool}
    known["__builtins__"] = dict[str, object]()
    try:
        return bool(eval(_python(condition), known))
    except ConditionError:
        raise
    except Exception as error:
        raise ConditionError(f"the condition {condition} cannot be evaluated: {error}") from error


def _python(condition: str) -> str:
    written: list[str] = []
    position = 0
    while position < len(condition):
        match = _PART.match(condition, position)
        word = match["word"] if match else None
        if match is None or (word is not None and word not in _WORDS):
            raise ConditionError(f"the condition {condition} is not of the form that the compiler writes")
        if match["input"]:
            written.append("values")
        elif word is not None:
            written.append(_WORDS[word])
        else:
            written.append(_OPERATORS.get(match[0], match[0]))
        position = match.end()
    return "".join(written).strip()
