"""What an expression reads is found without the CEL library, and agrees with it."""

import subprocess
import sys

import pytest

from workflows.expressions.references import ReferenceMalformed, find_references, references


def names(expression: str) -> list[str]:
    return [str(f.reference) for f in find_references(expression)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inputs.a > 1 && run.id == 'x'", ["inputs.a", "run.id"]),
        ("steps.train.state == 'failed'", ["steps.train.state"]),
        ("steps.train.outputs.accuracy", ["steps.train.outputs.accuracy"]),
        ("steps.t.outputs.o.field[0].more", ["steps.t.outputs.o"]),
        ("steps.t.artifacts.model.uri.startsWith('s3')", ["steps.t.artifacts.model"]),
        ("steps.t.state.startsWith('s')", ["steps.t.state"]),
        ("inputs.name.size() + inputs . other", ["inputs.name", "inputs.other"]),
        ("'inputs.a' + \"steps.b.state\" // run.id", []),
        ("steps.t.outputs.o.inputs.x", ["steps.t.outputs.o"]),
        ("{'inputs': 1}", []),
        ("inputs.a + inputs.a", ["inputs.a", "inputs.a"]),
    ],
)
def test_references_are_found_where_they_stand(expression: str, expected: list[str]) -> None:
    assert names(expression) == expected


def test_a_reference_knows_its_place() -> None:
    (found,) = find_references("1 + steps.a.outputs.b * 2")
    assert (found.start, found.end) == (4, 21)


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("inputs", "'inputs' cannot be read as a whole", "write inputs.<name>"),
        ("inputs['a']", "cannot be read as a whole", "written with a dot"),
        ("run", "cannot be read as a whole", "run.id or run.workflow"),
        ("steps.train", "'steps.train' cannot be read as a whole", "steps.train.state"),
        ("steps.train.outputs", "cannot be read as a whole", "write steps.train.outputs.<name>"),
        ("steps.train.output.x", "a step has no 'output'", "did you mean 'outputs'?"),
        ("steps.a.outputs.size()", "cannot be read as a whole", "steps.a.outputs.<name>"),
        (".inputs.a", "a name cannot begin with a dot", "leave the dot out"),
        ("has(inputs.a)", "has() cannot test inputs.a", "compare it with null"),
        ("has(steps.a.outputs.b)", "has() cannot test", "steps.a.state with 'succeeded'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_mend(expression: str, message: str, hint: str) -> None:
    with pytest.raises(ReferenceMalformed) as caught:
        references(expression)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_has_may_test_a_field_of_what_is_read() -> None:
    assert names("has(steps.a.outputs.b.c) || has(inputs.o.f)") == ["steps.a.outputs.b", "inputs.o"]


def test_the_workflow_imports_neither_the_cel_library_nor_yaml() -> None:
    code = "import sys, workflows.meta_run; print([m for m in sys.modules if m.startswith(('cel_expr', 'yaml'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
