from __future__ import annotations

import pytest

from meta.sandbox.kfp.inside.kfp_run.conditions import ConditionError, holds

VALUES = {"x": 3, "name": "wow! && true", "flag": True, "none": None, "list": ["a"]}
X, NAME, FLAG = (f"inputs.parameter_values['{name}']" for name in ("x", "name", "flag"))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"{X} == 3", True),
        (f"int({X}) > 2 && int({X}) <= 3", True),
        (f"!({X} == 3) || {X} != 3", False),
        (f"{NAME} == 'wow! && true'", True),
        (f"{NAME} == 'wow! and true'", False),
        (f"{NAME} == 'it\\'s'", False),
        (f'{FLAG} == true && {NAME} != "||"', True),
        (f"string({X}) == '3' && double({X}) < 3.5", True),
        ("inputs.parameter_values['none'] == null", True),
        ("inputs.parameter_values['absent'] == 1", False),
        (f"{X} == -1", False),
    ],
)
def test_a_condition_is_decided_as_cel_decides_it(condition: str, expected: bool) -> None:
    assert holds(condition, VALUES) is expected


@pytest.mark.parametrize(
    "condition",
    ["__import__('os').system('true') == 0", f"{X}.real == 3", f"{X} % 2 == 1", "size('a') == 1", f"{X} =="],
)
def test_another_form_is_refused(condition: str) -> None:
    with pytest.raises(ConditionError, match="the condition"):
        holds(condition, VALUES)
