"""What a step says about trying again and about its end is checked before anything runs."""

from textwrap import dedent

import pytest

from workflows.errors import DefinitionInvalid, Problem
from workflows.spec import load_definition
from workflows.spec.steps import CANCEL_GRACE

HEAD = "apiVersion: meta/v1\nkind: MetaWorkflow\nmetadata: {name: chain}\n"
STEPS = """\
steps:
  train:
    argo: {template: train}
    retry:
      attempts: 3
      strategy: auto
      retryOn: outcome.failed_nodes.exists(n, n.exit_code == 137)
    cancelGrace: 2m
    onLost: restart
"""


def problem(body: str) -> Problem:
    with pytest.raises(DefinitionInvalid) as caught:
        load_definition(HEAD + dedent(body), "wf.yaml")
    (found,) = caught.value.problems
    return found


def test_everything_can_be_said() -> None:
    step = load_definition(HEAD + STEPS).steps["train"]
    assert step.retry.strategy == "auto"
    assert step.retry.retry_on == "outcome.failed_nodes.exists(n, n.exit_code == 137)"
    assert (step.on_lost, step.grace.total_seconds()) == ("restart", 120)
    listed = load_definition(HEAD + STEPS.replace("outcome.failed_nodes.exists(n, n.exit_code == 137)", "[failed]"))
    assert listed.steps["train"].retry.retry_on == ["failed"]
    back = listed.model_validate_json(listed.model_dump_json(by_alias=True, exclude_unset=True))
    assert back == listed


def test_without_a_word_an_argo_run_has_half_a_minute_and_a_kfp_run_nothing() -> None:
    steps = "steps:\n  a: {argo: {template: t}}\n  b: {kfp: {pipeline: p}}\n"
    definition = load_definition(HEAD + steps)
    assert definition.steps["a"].grace == CANCEL_GRACE
    assert not definition.steps["b"].grace


@pytest.mark.parametrize(
    ("old", "new", "at", "message", "hint"),
    [
        ("n.exit_code", "n.exitcode", (7, 49), "a failed node has no 'exitcode'", "did you mean 'exit_code'?"),
        ("outcome.failed", "outcom.failed", (7, 22), "there is no name 'outcom.failed_nodes'", "it reads outcome."),
        ("n.exit_code == 137)", "n.exit_code == 137", (7, 65), "the expression ends too early", ""),
        ("exists(n, n.exit_code == 137)", "size()", (7, 16), "must be true or false, this is an integer", "compare"),
        ("outcome.failed_nodes", "${{ outcome.failed_nodes", (7, 16), "retryOn is no template", "leave ${{ }} out"),
        (
            "outcome.failed_nodes.exists(n, n.exit_code == 137)",
            "[failed, rejected]",
            (7, 16),
            "'rejected' is no failure class that can be tried again: failed, timed_out, lost, cancelled",
            "",
        ),
        ("outcome.failed_nodes.exists(n, n.exit_code == 137)", "[]", (7, 16), "retryOn is a list of failure", ""),
        ("outcome.failed_nodes.exists(n, n.exit_code == 137)", "3", (7, 16), "retryOn is a list of failure", ""),
        ("onLost: restart", "onLost: ignore", (9, 13), "expected one of 'fail', 'restart'", ""),
        ("strategy: auto", "strategy: any", (6, 17), "expected one of 'resume', 'restart', 'auto'", ""),
        ("argo: {template", "kfp: {pipeline", (8, 18), "only Argo knows a stop", "KFP's terminate ends a run at once"),
    ],
)
def test_a_slip_has_its_place_and_the_mend(old: str, new: str, at: tuple[int, int], message: str, hint: str) -> None:
    assert old in STEPS
    found = problem(STEPS.replace(old, new, 1))
    assert message in found.message
    assert hint in found.hint
    assert (found.line - HEAD.count("\n"), found.column) == at


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("retry: {retryOn: [failed]}", "there is one attempt, so nothing is tried again"),
        ("onLost: restart", "there is one attempt, so a lost run is not run again"),
        ("retry: {attempts: 2, retryOn: [lost]}\n    onLost: fail", "onLost says fail, retryOn has lost"),
    ],
)
def test_what_contradicts_itself_is_refused(step: str, message: str) -> None:
    assert message in problem(f"steps:\n  a:\n    argo: {{template: t}}\n    {step}\n").message
