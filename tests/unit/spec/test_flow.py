"""Fan-outs, failures that go on, compensations, `finally` and time are checked before anything runs."""

import pytest

from tests.support.definitions import HEAD, marked, problems
from workflows.outcome import FailureClass
from workflows.spec import load_definition, validate
from workflows.spec.flow import MAX_ITEMS
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, JsonValue

STEPS = """\
inputs: {shards: {type: list}, count: {type: integer}, rate: {type: number}}
timeout: 8h
steps:
  one:
    argo: {template: t}
    outputs: {size: integer}
    compensate:
      argo: {template: undo}
      parameters: {size: "${{ steps.one.outputs.size }}", why: "${{ outcome.message }}"}
  numbers:
    foreach: [1, 2.5, 3]
    argo: {template: t}
    parameters: {n: "${{ item * 2 }}", i: "${{ index }}"}
    outputs: {score: number}
    continueOn: [failed, timedOut]
  given:
    foreach: {items: "${{ inputs.shards }}", parallelism: 5, failFast: false}
    argo: {template: t}
    parameters: {n: "${{ item.name }}"}
    outputs: {score: number}
  ranged:
    foreach: {range: {from: 0, to: "${{ inputs.count }}", step: 2}}
    argo: {template: t}
    parameters: {n: "${{ item + 1 }}"}
  matrix:
    foreach: {matrix: {rate: [0.1, 1], model: [a, b], shard: "${{ inputs.shards }}"}}
    argo: {template: t}
    parameters: {rate: "${{ item.rate * 2 }}", all: "${{ item }}"}
  gather:
    argo: {template: t}
    needs: [numbers]
    parameters:
      scores: "${{ steps.given.outputs.score.map(s, s * 2) }}"
      first: "${{ steps.given.artifacts.model[0].uri }}"
    compensate:
      activity: {name: undo, taskQueue: q}
      parameters: {before: "${{ steps.one.state }}"}
  tell:
    when: steps.gather.state == 'failed' && steps.gather.message.contains('x') && steps.one.state != 'failed'
    argo: {template: t}
    parameters: {x: "${{ steps.gather.message }}"}
finally:
  clean:
    argo: {template: t}
    when: outcome.state == 'failed'
    parameters: {step: "${{ outcome.failed_step }}", gathered: "${{ steps.gather.state }}"}
  last: {argo: {template: t}, needs: [clean]}
  also: {argo: {template: t}, needs: [gather]}
outputs: {x: "${{ steps.gather.state }}"}
""".replace("needs: [numbers]", "needs: [numbers, one]")


def test_all_of_the_flow_is_accepted() -> None:
    assert problems(STEPS) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        # fan-outs
        ("foreach: [1, 2.5, 3]", "foreach: []", "the list is empty", ""),
        ("foreach: [1, 2.5, 3]", "foreach: inputs.shards", "a list is wanted, and 'inputs.shards' is none", "${{"),
        ("item * 2", "item + 'x'", "'+' cannot be applied to a number and a string", ""),
        ("index }}", "index + 'x' }}", "'+' cannot be applied to an integer and a string", ""),
        ("inputs.shards }}\", p", "inputs.count }}\", p", "a list is wanted, and this is an integer", "itself"),
        ("inputs.shards }}\", p", "item }}\", p", "there is no 'item' here", "in a step with 'foreach'"),
        ("parallelism: 5", "parallelism: 0", "must be at least 1, not 0", ""),
        ("inputs.count }}\", s", "inputs.rate }}\", s", "an integer is wanted, and this is a number", "int(x)"),
        ('"${{ inputs.count }}", s', "x, s", "an integer is wanted, and 'x' is none", ""),
        ('to: "${{ inputs.count }}"', "to: 20002", "for 10,001 items, 10,000 at most", "split"),
        ('to: "${{ inputs.count }}"', "to: 0", "no integer is at least 0 and below 0", ""),
        ("{range: {from: 0, to: \"${{ inputs.count }}\", step: 2}}", "{range: 10001}", "10,001 items", ""),
        ("item.rate * 2", "item.rat * 2", "an item of this matrix has no 'rat'", "did you mean 'rate'?"),
        ("item.rate * 2", "item.model * 2", "'*' cannot be applied to a string and an integer", ""),
        ("model: [a, b]", "model: []", "the list is empty", ""),
        ("[0.1, 1], model: [a, b]", f"{list(range(101))}, model: {list(range(100))}", "for 10,100 items", ""),
        ("score.map(s, s * 2)", "score + 1", "'+' cannot be applied to a list of numbers and an integer", ""),
        ("model[0].uri", "model.uri", "is a list, as step 'given' runs once for each item", "model.map(x, x.uri)"),
        ("given.outputs.score", "given.outputs.scor", "has no output 'scor'", "did you mean 'score'?"),
        ("steps.gather.state == 'failed' &&", "item == 1 &&", "there is no 'item' here", "'foreach'"),
        # failures that go on
        ("[failed, timedOut]", "[failed, failed]", "'failed' stands twice", ""),
        ("[failed, timedOut]", "[rejected]", "expected one of 'failed', 'lost', 'timedOut'", ""),
        ("[failed, timedOut]", "failed", "expected a list", ""),
        # compensations
        ("  numbers:\n", "  compensate_one: {argo: {template: t}}\n  numbers:\n", "takes step 'one' back", ""),
        ("  last:", "  compensate_one:", "what takes step 'one' back", "another name"),
        ("steps.one.outputs.size }", "steps.one.outputs.siz }", "has no output 'siz'", "did you mean 'size'?"),
        ("steps.one.outputs.size }", "steps.given.state }", "'given' may not have run when step 'one'", "needs"),
        ("steps.one.outputs.size }", "steps.clean.state }", "'clean' may not have run when step 'one'", ""),
        ("outcome.message", "outcome.mesage", "an outcome has no 'mesage'", "did you mean 'message'?"),
        ("outcome.message", "outcome", "'outcome' cannot be read as a whole", "outcome.state"),
        ("argo: {template: undo}", "wait: {duration: 1s}", "unknown key 'wait'", "keys: activity, argo"),
        # finally
        ("  clean:", "  one:", "'one' is a step already", "another name"),
        ("[clean]", "[claen]", "unknown step 'claen'", "did you mean 'clean'?"),
        ("[clean]", "[last]", "step 'last' needs itself", ""),
        ("[numbers, one]", "[clean]", "'clean' is a step of 'finally', which begins when", "move it"),
        ("{x: \"${{ steps.gather.message", "{x: \"${{ steps.clean.message", "'clean' is a step of 'finally'", ""),
        ("{x: \"${{ steps.gather.state", "{x: \"${{ steps.clean.state", "'clean' is a step of 'finally'", "another"),
        ("outcome.state == 'failed'", "outcome.state == 'faild'", "no state 'faild'", "did you mean 'failed'?"),
        ("steps.gather.state == 'failed' &&", "outcome.state == 'failed' &&", "no 'outcome' here", "'compensate'"),
        ("needs: [clean]", "compensate: {argo: {template: t}}", "'finally' is not taken back", ""),
        # time
        ("timeout: 8h", "timeout: 0s", "a timeout of nothing", ""),
        ("timeout: 8h", "timeout: 8", "8 is not a duration", ""),
    ],
)  # fmt: skip
def test_a_slip_in_the_flow_is_named_with_the_mend(old: str, new: str, message: str, hint: str) -> None:
    assert old in STEPS
    found = problems(STEPS.replace(old, new, 1))
    matching = [p for p in found if message in p.message]
    assert matching, found
    assert hint in matching[0].hint
    assert matching[0].line > 3 and matching[0].column > 0


@pytest.mark.parametrize(
    ("foreach", "text", "message"),
    [
        ("{items: 3}", "3}", "expected a list or a string, got 3"),
        ("{range: x}", "x}", 'expected keys and values or an integer, got "x"'),
        ("{range: {to: 1.5}}", "1.5}}", "expected an integer or a string, got 1.5"),
        ("{range: {form: 1, to: 3}}", "form: 1, to: 3}}", "unknown key 'form'"),
        ("{range: {from: 1}}", "{from: 1}}", "key 'to' is missing"),
        ("{matrix: {A: [1]}}", "A: [1]}}", '"A" is not a name that can stand here'),
        ("{matrix: {a: 1}}", "1}}", "expected a list or a string, got 1"),
        ("{items: [1], range: 2}", "{items: [1], range: 2}", "give exactly one of 'items', 'range', 'matrix'"),
    ],
)
def test_a_value_of_none_of_its_shapes_is_one_problem_in_plain_words(foreach: str, text: str, message: str) -> None:
    steps = (
        f"steps:\n  a:\n    argo: {{template: t}}\n    parameters: {{x: '${{{{ item }}}}'}}\n    foreach: {foreach}\n"
    )
    assert marked(steps) == [(text, message)]


@pytest.mark.parametrize(
    ("cache", "text", "message"),
    [
        ("yes", "yes", 'expected keys and values or true or false, got "yes"'),
        ("{tl: 1h}", "tl: 1h}", "unknown key 'tl'"),
        ("{ttl: 3}", "3}", "3 is not a duration; write it as 30s, 10m, 2h or 1h30m"),
    ],
)
def test_of_a_value_with_the_right_shape_the_inside_is_named(cache: str, text: str, message: str) -> None:
    assert marked(f"steps:\n  a:\n    argo: {{template: t}}\n    cache: {cache}\n") == [(text, message)]


def test_slips_of_shape_and_of_meaning_come_at_once_in_steps_compensations_and_finally() -> None:
    found = problems("""\
        steps:
          a:
            argo: {template: t}
            foreach: {itms: [1]}
            parameters: {x: "${{ item }}"}
            compensate: {argo: {template: t}, parameters: {x: "${{ steps.b.state }}"}}
          b: {argo: {template: t}, needs: [a]}
          c: {wait: 5m}
        finally:
          f: {argo: {template: t}, needs: [g]}
        """)
    assert [p.message.split(",")[0] for p in found] == [
        "unknown key 'itms'",
        "step 'b' may not have run when step 'a' is taken back",
        "expected keys and values",
        "unknown step 'g'",
    ]
    assert [p.line for p in found] == sorted(p.line for p in found)


@pytest.mark.parametrize("kind", ["approval: {prompt: x}", "wait: {duration: 1s}"])
def test_a_person_and_time_are_not_asked_once_for_each_item(kind: str) -> None:
    (problem,) = problems(f"steps:\n  a:\n    {kind}\n    foreach: [1]\n")
    assert "cannot run once for each item" in problem.message


def test_the_longest_list_may_be_written_out() -> None:
    head: JsonObject = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "x"}}
    for more, wrong in ((0, 0), (1, 1)):
        items: list[JsonValue] = [1] * (MAX_ITEMS + more)
        step: JsonObject = {"argo": {"template": "t"}, "foreach": items}
        assert len(validate(MetaWorkflow.model_validate({**head, "steps": {"a": step}}))) == wrong


def test_what_has_timed_out_may_be_written_as_the_state_is_called() -> None:
    text = HEAD + "steps: {a: {argo: {template: t}, continueOn: [%s]}}"
    definition = load_definition(text % "timed_out")
    assert definition == load_definition(text % "timedOut")
    assert definition.steps["a"].continues == {FailureClass.TIMED_OUT}


def test_of_a_step_that_may_fail_the_lists_may_have_gaps() -> None:
    expression = "steps.s.outputs.x.filter(x, x != null).size() > 0 && steps.s.artifacts.m[0] != null"
    steps = """\
        steps:
          s: {{foreach: [1], argo: {{template: t}}, outputs: {{x: number}}{0}}}
          t: {{argo: {{template: t}}, when: "{1}"}}
        """
    assert problems(steps.format(", continueOn: [failed]", expression)) == []
    assert problems(steps.format("", expression))
