"""A definition that Python builds is the one that YAML writes, and its YAML reads back as the same."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta.dsl import (
    Cache,
    Each,
    MetaWorkflow,
    Outputs,
    Retry,
    Span,
    Undo,
    Value,
    activity,
    approval,
    argo,
    event,
    index,
    item,
    kfp,
    outcome,
    wait,
    wait_for,
    workflow,
)
from workflows.errors import DefinitionInvalid
from workflows.spec import load_definition
from workflows.spec.models import MetaWorkflow as Definition
from workflows.spec.steps import Range
from workflows.spec.writing import write_definition
from workflows.spec.yaml12 import Document

CATALOGUE = Path(__file__).parents[3] / "workflows" / "catalog"

EVERYTHING = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: everything, description: All that there is, labels: {team: ml}}
timeout: 1d
inputs:
  rate: {type: number, default: 0.5}
  note: {type: string, required: false}
  shards: {type: list, default: null}
steps:
  prepare:
    argo: {clusterTemplate: prepare, engine: argo-west}
    cache: true
  settle:
    wait: {duration: 10m}
  later:
    wait: {until: "${{ steps.prepare.outputs.at }}"}
  ready:
    wait: {event: {subject: ml.ready, when: event.rows > 1000, stream: ML}}
  each:
    foreach: "${{ inputs.shards }}"
    kfp: {pipeline: batch, version: v3, cache: false}
    parameters: {shard: "${{ item.name }}", deep: [{number: "${{ index }}"}]}
    continueOn: [failed, timedOut]
  grid:
    foreach: {matrix: {a: [1, 2], b: "${{ inputs.shards }}"}, parallelism: 5, failFast: false}
    argo: {template: grid}
  counted:
    foreach: {range: 10}
    argo: {template: counted}
  spanned:
    foreach: {range: {from: 2, to: "${{ steps.each.outputs.score.size() }}", step: 2}}
    argo: {template: spanned}
  evaluate:
    useCase: model-evaluation
    argo: {template: evaluate}
    kfp: {pipeline: evaluate}
    outputs: {accuracy: number}
    cache: {ttl: 1d, key: "v2 ${{ inputs.note }}"}
    retry: {attempts: 3, strategy: auto, backoff: 30s, retryOn: [failed, lost]}
    onLost: restart
    attemptTimeout: 1h
  approve:
    needs: [evaluate, counted]
    when: steps.evaluate.outputs.accuracy >= 0.9
    approval:
      prompt: "Deploy at ${{ steps.evaluate.outputs.accuracy }}?"
      approvers: [ada]
      timeout: 1d
      onTimeout: reject
  deploy:
    needs: [approve]
    activity: {name: deploy, taskQueue: deployers, heartbeatTimeout: 30s}
    compensate:
      argo: {template: rollback}
      parameters: {why: "${{ outcome.message }}"}
      timeout: 5m
  announce:
    needs: [deploy]
    workflow: {name: announce}
finally:
  clean:
    when: outcome.state != 'succeeded'
    argo: {template: clean}
outputs:
  accuracy: ${{ steps.evaluate.outputs.accuracy }}
triggers:
  - nats:
      subject: ml.*.ready
      when: event.rows > 10
      id: "${{ event.id }}"
      inputs: {rate: 0.1}
      batch: {max: 9, within: 1m}
"""


def everything() -> MetaWorkflow:
    flow = MetaWorkflow("everything", description="All that there is", labels={"team": "ml"}, timeout="1d")
    flow.input("rate", float, default=0.5)
    note = flow.input("note", str, required=False)
    shards: Value[list[Any]] = flow.input("shards", list, default=None)
    prepare = flow.step("prepare", argo(cluster_template="prepare", engine="argo-west"), cache=True)
    flow.step("settle", wait(timedelta(minutes=10)))
    flow.step("later", wait(until=prepare.outputs.at))
    flow.step("ready", wait_for("ml.ready", when=event.rows > 1000, stream="ML"))
    each = flow.step(
        "each", kfp(pipeline="batch", version="v3", cache=False), foreach=shards,
        parameters={"shard": item["name"], "deep": [{"number": index}]}, continue_on=["failed", "timedOut"],
    )  # fmt: skip
    flow.step("grid", argo(template="grid"), foreach=Each({"a": [1, 2], "b": shards}, parallelism=5, fail_fast=False))
    counted = flow.step("counted", argo(template="counted"), foreach=range(10))
    flow.step("spanned", argo(template="spanned"), foreach=Span(each.outputs.score.size(), start=2, step=2))
    evaluate = flow.step(
        "evaluate", [argo(template="evaluate"), kfp(pipeline="evaluate")], use_case="model-evaluation",
        outputs={"accuracy": float}, cache=Cache(ttl="1d", key=f"v2 {note}"), on_lost="restart", attempt_timeout="1h",
        retry=Retry(3, strategy="auto", backoff="30s", retry_on=["failed", "lost"]),
    )  # fmt: skip
    approve = flow.step(
        "approve",
        approval(f"Deploy at {evaluate.outputs.accuracy}?", approvers=["ada"], timeout="1d", on_timeout="reject"),
        needs=[evaluate, counted], when=evaluate.outputs.accuracy >= 0.9,
    )  # fmt: skip
    deploy = flow.step(
        "deploy", activity("deploy", task_queue="deployers", heartbeat_timeout="30s"), needs=[approve],
        compensate=Undo(argo(template="rollback"), parameters={"why": outcome.message}, timeout="5m"),
    )  # fmt: skip
    flow.step("announce", workflow("announce"), needs=[deploy])
    flow.step("clean", argo(template="clean"), when=outcome.state != "succeeded", at_end=True)
    flow.output("accuracy", evaluate.outputs.accuracy)
    flow.on_message("ml.*.ready", when=event.rows > 10, id=f"{event.id}", inputs={"rate": 0.1}, batch=(9, "1m"))
    return flow


def definition_of(text: str) -> Definition:
    """As the models read it, whatever its expressions say."""
    return Definition.model_validate(Document(text).value)


def test_every_key_can_be_said_in_python_and_is_the_same_as_in_yaml() -> None:
    parsed = everything().parsed()
    assert parsed.problems == ()
    assert parsed.definition == definition_of(EVERYTHING)


def test_every_key_is_written_in_the_order_of_the_documentation_and_read_back() -> None:
    definition = definition_of(EVERYTHING)
    text = write_definition(definition, ["One line.", "", "And another."])
    assert definition_of(text) == definition
    assert text.startswith("# One line.\n#\n# And another.\napiVersion: meta/v1\nkind: MetaWorkflow\nmetadata:")
    assert "  counted:\n    foreach: {range: 10}\n    argo: {template: counted}\n\n  spanned:" in text
    keys: list[str] = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert keys == ["apiVersion", "kind", "metadata", "timeout", "inputs", "steps", "finally", "outputs", "triggers"]
    step = text[text.index("  evaluate:") :].split("\n\n")[0]
    keys = re.findall(r"^    (\w+):", step, re.MULTILINE)
    assert keys == ["useCase", "argo", "kfp", "outputs", "retry", "onLost", "attemptTimeout", "cache"]


@pytest.mark.parametrize("file", sorted(CATALOGUE.glob("*/workflow.yaml")), ids=lambda file: file.parent.name)
def test_the_chains_of_the_catalogue_read_back_as_they_were(file: Path) -> None:
    definition = load_definition(file.read_text(), str(file))
    assert load_definition(write_definition(definition)) == definition


class Scores(Outputs):
    accuracy: Value[float]
    confusion: Value[list[Any]]


def test_a_class_of_outputs_declares_them_and_knows_no_others() -> None:
    flow = MetaWorkflow("chain")
    evaluate = flow.step("evaluate", kfp(pipeline="evaluate"), outputs=Scores)
    flow.step("deploy", argo(template="deploy"), when=(evaluate.outputs.accuracy > 0.9) & evaluate.succeeded)
    definition = flow.build()
    assert definition.steps["evaluate"].outputs == {"accuracy": "number", "confusion": "list"}
    assert definition.steps["deploy"].when == (
        "steps.evaluate.outputs.accuracy > 0.9 && steps.evaluate.state == 'succeeded'"
    )
    assert {"accuracy", "confusion"} <= set(dir(evaluate.outputs))
    with pytest.raises(AttributeError, match="did you mean 'accuracy'"):
        _ = evaluate.outputs.acuracy


def test_every_problem_is_told_with_the_line_of_python_that_made_it() -> None:
    flow = MetaWorkflow("chain")
    rate = flow.input("rate", float, default="much")
    first = flow.step("first", argo(template="t"), needs=["frist"])
    flow.step("second", argo("a.yaml", template="t"))
    flow.step("third", argo(template="t"), when=first.outputs.x > 1, retry=Retry(0), timeout="2 hours")
    flow.output("x", rate + "y")
    with pytest.raises(DefinitionInvalid) as caught:
        flow.build()
    lines = Path(__file__).read_text().splitlines()
    told = {p.path: (lines[p.line - 1].strip().split("(")[0], p.message) for p in caught.value.problems}
    assert told["inputs.rate.default"][0] == "rate = flow.input"
    assert told["steps.first.needs[0]"] == ("first = flow.step", "unknown step 'frist'")
    assert told["steps.second.argo"][0] == "flow.step"
    assert "exactly one of 'manifest'" in told["steps.second.argo"][1]
    assert told["steps.third.retry.attempts"] == ("flow.step", "must be at least 1, not 0")
    assert "is not a duration" in told["steps.third.timeout"][1]
    assert told["outputs.x"][0] == "flow.output"
    assert all(p.file == __file__ and p.line > 100 for p in caught.value.problems)


def test_a_name_that_is_taken_is_refused_with_the_place_of_the_first() -> None:
    flow = MetaWorkflow("chain")
    flow.step("one", argo(template="t"))
    with pytest.raises(ValueError, match=r"there is a step 'one' already \(test_flow.py:\d+\)"):
        flow.step("one", argo(template="t"), at_end=True)


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=20).map(
    lambda text: text.replace("${{", "")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
WORDS_OF_CEL = ("in", "true", "false", "null")  # a step of such a name is fine as long as nothing reads it
NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,8}\Z").filter(
    lambda name: not name.startswith("compensate_") and name not in WORDS_OF_CEL
)


@st.composite
def flows(draw: st.DrawFn) -> MetaWorkflow:
    flow = MetaWorkflow(draw(st.from_regex(r"\A[a-z]([-a-z0-9]{0,5}[a-z0-9])?\Z")), description=draw(TEXTS))
    readable: list[Value[Any]] = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        given: dict[str, Any] = draw(st.sampled_from([{}, {"default": None}, {"default": "no"}, {"required": False}]))
        readable.append(flow.input(name, str, description=draw(TEXTS), **given))
    made: list[Any] = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        value = draw(st.sampled_from(readable)) if readable else "none"
        made.append(
            flow.step(
                name,
                draw(st.sampled_from([argo(template="no"), argo("a.yaml"), kfp(pipeline="12:30", version="1e3")])),
                description=draw(TEXTS),
                parameters={"x": draw(JSON), "y": value, "z": f"{value} {draw(TEXTS)}"},
                artifacts={"data": made[-1].artifacts.data} if made else {"data": "s3://bucket/key"},
                outputs={"score": float},
                when=made[-1].outputs.score > draw(st.integers(-9, 9)) if made else None,
                retry=Retry(draw(st.integers(2, 9)), backoff=timedelta(seconds=draw(st.integers(1, 100_000)))),
                timeout=timedelta(milliseconds=draw(st.integers(1, 10**9))),
            )
        )
    flow.output("score", f"{draw(TEXTS)}{made[-1].outputs.score}")
    return flow


@settings(max_examples=25, deadline=None)
@given(flows())
def test_whatever_is_built_reads_back_from_its_yaml_as_the_same(flow: MetaWorkflow) -> None:
    definition = flow.build()
    assert load_definition(write_definition(definition)) == definition


def test_integers_up_to_one_that_the_run_knows_have_their_own_parallelism() -> None:
    flow = MetaWorkflow("chain")
    count = flow.input("count", int)
    flow.step("each", argo(template="t"), foreach=Each(Span(count), parallelism=3))
    foreach = flow.build().steps["each"].foreach
    assert foreach is not None
    assert (foreach.range, foreach.parallelism) == (Range.model_validate({"from": 0, "to": "${{ inputs.count }}"}), 3)
