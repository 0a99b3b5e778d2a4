"""A definition is loaded, or refused with every problem, each with its place and a mend."""

from textwrap import dedent

import pytest

from workflows.errors import DefinitionInvalid, Problem
from workflows.spec import load_definition, validate
from workflows.spec.models import MetaWorkflow

HEAD = "apiVersion: meta/v1\nkind: MetaWorkflow\nmetadata: {name: chain}\n"


def problems(body: str) -> list[Problem]:
    """Problems of a definition whose head is right; lines count from the body's first."""
    with pytest.raises(DefinitionInvalid) as caught:
        load_definition(HEAD + dedent(body), "wf.yaml")
    return list(caught.value.problems)


def one(body: str) -> Problem:
    found = problems(body)
    assert len(found) == 1, found
    return found[0]


def place(problem: Problem) -> tuple[int, int]:
    return problem.line - HEAD.count("\n"), problem.column


STEPS = """\
inputs:
  rate: {type: number, default: 0.5}
  rows: {type: integer}
  note: {type: string, required: false}
steps:
  prepare:
    argo: {template: prepare}
    outputs: {rows: integer}
  train:
    kfp: {pipeline: train, version: v3, cache: false}
    parameters:
      rate: ${{ inputs.rate * 2 }}
      note: "rows: ${{ steps.prepare.outputs.rows }}"
      all: [1, {x: "${{ inputs.rows + 1 }}"}]
    artifacts:
      dataset: ${{ steps.prepare.artifacts.dataset }}
      fixed: s3://bucket/key
    retry: {attempts: 3, strategy: resume, backoff: 30s}
    timeout: 2h
    attemptTimeout: 1h30m
  tell:
    needs: [train]
    when: steps.train.state == 'failed' && inputs.note != null
    argo: {clusterTemplate: tell, engine: argo-eu}
outputs: {rows: "${{ steps.prepare.outputs.rows }}"}
"""


def test_a_right_definition_is_loaded_with_its_types() -> None:
    definition = load_definition(HEAD + STEPS)
    assert definition.name == "chain"
    assert definition.steps["train"].retry.attempts == 3
    assert definition.steps["tell"].engine == "argo-eu"
    assert validate(definition) == []


@pytest.mark.parametrize(
    ("old", "new", "at", "message", "hint"),
    [
        ("    parameters:", "    paramters:", (11, 5), "unknown key 'paramters'", "did you mean 'parameters'?"),
        ("clusterTemplate:", "cluster_template:", (24, 12), "unknown key 'cluster_template'", "'clusterTemplate'?"),
        ("[train]", "[trian]", (22, 13), "unknown step 'trian'", "did you mean 'train'?"),
        ("steps.train.state", "steps.trian.state", (23, 11), "unknown step 'trian'", "did you mean 'train'?"),
        ("inputs.rate * 2", "inputs.rat * 2", (12, 17), "unknown input 'rat'", "did you mean 'rate'?"),
        ("inputs.rate * 2", "inputs.rate * 'a'", (12, 29), "'*' cannot be applied to a number and a string", ""),
        ("outputs.rows }}\"\n", "outputs.row }}\"\n", (13, 24), "step 'prepare' has no output 'row'", "'rows'?"),
        ("inputs.rows + 1", "inputs.row + 1", (14, 25), "unknown input 'row'", "did you mean 'rows'?"),
        ("default: 0.5", "default: fast", (2, 33), "default of input 'rate': expected a number", ""),
        ("type: integer}", "type: integr}", (3, 16), "expected one of 'string'", "did you mean 'integer'?"),
        ("cache: false", "cache: no", (10, 48), 'expected true or false, got "no"', "no other booleans"),
        ("version: v3", "version: 3", (10, 37), "expected a string, got 3", 'in quotes: "3"'),
        ("attempts: 3", "attempts: 0", (18, 23), "must be at least 1, not 0", ""),
        ("attempts: 3", "attempts: '3'", (18, 23), "expected an integer", ""),
        ("strategy: resume", "strategy: resum", (18, 36), "expected one of 'resume', 'restart'", "'resume'?"),
        ("backoff: 30s", "backoff: 30", (18, 53), "30 is not a duration", ""),
        ("timeout: 2h", "timeout: 0s", (19, 14), "a timeout of nothing", ""),
        ("[train]", "train", (22, 12), "expected a list", ""),
        ("  tell:", "  Tell:", (21, 3), '"Tell" is not a name', ""),
        ("artifacts.dataset }}", "artifacts.dataset.url }}", (16, 52), "an artifact has no 'url'", "'uri'?"),
        ("s3://bucket/key", "bucket/key", (17, 14), "neither an artifact nor a URI", "s3://bucket/key"),
        ("== 'failed' && inputs.note != null", "+ 'x'", (23, 11), "when must be true or false", "compare"),
        ("when: steps.train.state", "when: ${{ steps.train.state", (23, 11), "when is no template", "leave ${{ }} out"),
        ("argo: {template: prepare}", "argo: {}", (7, 11), "exactly one of 'manifest', 'template'", ""),
        ("argo: {template: prepare}", "needs: []", (6, 3), "exactly one of 'argo', 'kfp'", ""),
        ("{pipeline: train, version", "{package: train.yaml, version", (10, 10), "'version' goes with 'pipeline'", ""),
        ("inputs.rate * 2 }}", "inputs.rate * 2", (12, 13), "'${{' without '}}'", "close it"),
        ("{{ inputs.rate * 2 }}", "{{ steps.prepare }}", (12, 17), "cannot be read as a whole", "steps.prepare.state"),
        ("inputs.rate * 2", "duration('1s')", (12, 17), "a value that JSON does not have", "string(...)"),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_place_and_the_mend(
    old: str, new: str, at: tuple[int, int], message: str, hint: str
) -> None:
    assert old in STEPS
    found = problems(STEPS.replace(old, new, 1))
    matching = [p for p in found if message in p.message]
    assert matching, found
    problem = matching[0]
    assert hint in problem.hint
    assert problem.file == "wf.yaml"
    if "exactly one" not in message and "goes with" not in message:  # these are about a step as a whole
        assert place(problem) == at
    else:
        assert problem.line > 0


def test_every_problem_comes_at_once_in_the_order_of_the_file() -> None:
    found = problems("""\
        inputs:
          n: {type: integr, default: 3}
        steps:
          prepare:
            argo: {manifest: prepare.yaml}
            paramters: {a: b}
          train:
            kfp: {package: train.yaml}
            when: inputs.n > 1 && steps.prepar.state == 'x'
        """)
    assert [p.message.split(",")[0] for p in found] == [
        "expected one of 'string'",
        "unknown key 'paramters'",
        "unknown step 'prepar'",
    ]
    assert [p.line for p in found] == sorted(p.line for p in found)


def test_a_circle_is_named_whole() -> None:
    problem = one("""\
        steps:
          a: {argo: {template: t}, needs: [c]}
          b: {argo: {template: t}, when: "steps.a.state == 'failed'"}
          c: {argo: {template: t}, parameters: {x: "${{ steps.b.outputs.y }}"}}
        """)
    assert problem.message == "steps need each other in a circle: a -> c -> b -> a"
    assert place(problem) == (2, 3)


def test_a_step_that_needs_itself_is_a_circle_of_one() -> None:
    assert one("steps:\n  a: {argo: {template: t}, needs: [a]}\n").message == "step 'a' needs itself"


def test_an_expression_in_a_block_has_its_line() -> None:
    problem = one("""\
        inputs: {n: {type: integer}}
        steps:
          a:
            when: |
              inputs.n > 1 &&
              inputs.m > 2
            argo: {template: t}
        """)
    assert place(problem) == (6, 7)


def test_an_expression_in_a_folded_block_has_its_line() -> None:
    problem = one("""\
        inputs: {n: {type: integer}}
        steps:
          a:
            argo: {template: t}
            parameters:
              text: >-
                some text ${{ inputs.n
                  + inputs.m }}
        """)
    assert place(problem) == (8, 13)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DefinitionInvalid, match="key 'kind' is missing"):
        load_definition("apiVersion: meta/v1\nmetadata: {name: x}\nsteps: {a: {argo: {template: t}}}\n")


@pytest.mark.parametrize("text", ["", "[]", "just text", "a: [", "3", "null"])
def test_what_is_no_definition_is_refused(text: str) -> None:
    with pytest.raises(DefinitionInvalid):
        load_definition(text)


def test_a_definition_of_more_than_256_kilobytes_is_refused_with_its_size() -> None:
    with pytest.raises(DefinitionInvalid, match=r"has 3\d\d,\d{3} bytes, 262,144 at most"):
        load_definition(HEAD + f"steps: {{a: {{argo: {{template: t}}, parameters: {{x: {'y' * 300_000}}}}}}}")


def test_a_definition_built_in_python_is_validated_by_paths() -> None:
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "x"},
            "steps": {"a": {"argo": {"template": "t"}, "needs": ["b"], "parameters": {"p": "y" * 300_000}}},
        }
    )
    found = validate(definition)
    assert [(p.path, p.line) for p in found] == [("", 0), ("steps.a.needs[0]", 0)]
    assert "bytes of JSON" in found[0].message


def test_an_input_that_travels_stays_required() -> None:
    definition = load_definition(HEAD + STEPS)
    for unset, defaults in ((False, False), (True, False), (False, True)):
        text = definition.model_dump_json(by_alias=True, exclude_unset=unset, exclude_defaults=defaults)
        back = MetaWorkflow.model_validate_json(text)
        assert [i.is_required for i in back.inputs.values()] == [False, True, False]


def test_a_default_of_null_makes_an_input_optional_wherever_it_travels() -> None:
    definition = load_definition(HEAD + "inputs: {a: {type: string, default: null}}\nsteps: {s: {argo: {template: t}}}")
    back = MetaWorkflow.model_validate_json(definition.model_dump_json(exclude_defaults=True))
    assert not back.inputs["a"].is_required
