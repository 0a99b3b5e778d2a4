"""What a definition says about its triggers is checked before it is published."""

from textwrap import dedent

import pytest

from workflows.errors import DefinitionInvalid, Problem
from workflows.spec import load_definition
from workflows.spec.models import MetaWorkflow
from workflows.spec.trigger_models import NatsTrigger, seconds_between

HEAD = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
inputs:
  rate: {type: number, default: 1}
  table: {type: string}
steps:
  train: {argo: {template: train}}
"""
NATS = """\
triggers:
  - nats:
      subject: ml.datasets.*.ready
      when: event.rows > 1000
      id: "${{ event.table }}-${{ event.version }}"
      inputs:
        table: "${{ event.table }}"
        rate: 0.1
      reply: "${{ event.reply_to }}"
"""


def load(body: str) -> MetaWorkflow:
    return load_definition(HEAD + dedent(body), "wf.yaml")


def nats(body: str) -> NatsTrigger:
    trigger = load(body).triggers[0].nats
    assert trigger is not None
    return trigger


def problems(body: str) -> list[Problem]:
    with pytest.raises(DefinitionInvalid) as caught:
        load(body)
    return list(caught.value.problems)


def trigger(**fields: str) -> str:
    lines = {"subject": "ml.ready", "inputs": '{table: "${{ event.table }}"}'} | fields
    return "triggers:\n  - nats:\n" + "".join(f"      {key}: {value}\n" for key, value in lines.items() if value)


def test_a_trigger_says_subject_condition_identity_inputs_and_reply() -> None:
    found = nats(NATS)
    assert found.subject == "ml.datasets.*.ready"
    assert found.inputs == {"table": "${{ event.table }}", "rate": 0.1}
    definition = load(NATS)
    assert definition.model_validate_json(definition.model_dump_json(by_alias=True, exclude_unset=True)) == definition


def test_a_trigger_is_known_by_its_name_and_without_one_by_its_subject() -> None:
    assert nats(trigger(name="datasets")).key == "datasets"
    unnamed = nats(trigger())
    assert unnamed.key == nats(trigger(maxDeliver="3")).key, "other settings are no other trigger"
    assert unnamed.key != nats(trigger(subject="ml.other")).key


def test_a_rate_is_a_time_between_starts() -> None:
    assert [seconds_between(rate) for rate in ("10/s", "30/m", "1/h", "1/d")] == [0.1, 2, 3600, 86400]


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ({"subject": "ml..ready"}, "no empty part", ""),
        ({"subject": "ml.>.ready"}, "'>' stands at the end", ""),
        ({"subject": "ml.re*dy"}, "'re*dy' is no part of a subject", ""),
        ({"subject": "$JS.API.>"}, "begins with '$'", ""),
        ({"subject": "meta.events.>"}, "the workflow's own events", "narrower"),
        ({"subject": "meta.events.chain.*.run.succeeded"}, "the workflow's own events", "narrower"),
        ({"subject": "meta.trigger.other"}, "the service's own subjects", "narrower"),
        ({"subject": "meta.dead.chain"}, "the dead letters", "narrower"),
        ({"when": '"${{ event.rows }}"'}, "when is no template", "leave ${{ }} out"),
        ({"when": "event.rows +"}, "ends too early", ""),
        ({"when": "\"'yes'\""}, "when must be true or false, this is a string", "compare"),
        ({"when": "steps.train.state == 'failed'"}, "there is no name", "read event.<field>"),
        ({"id": '"${{ inputs.rate }}"'}, "there is no name", "read event.<field>"),
        ({"id": '"${{ event.id"'}, "'${{' without '}}'", "close it"),
        ({"inputs": '{table: "${{ event.rows > 1 }}"}'}, "takes a string, this is true or false", ""),
        ({"inputs": "{table: 5}"}, "input 'table': expected a string", ""),
        ({"inputs": "{table: x, ratee: 1}"}, "unknown input 'ratee'", "did you mean 'rate'"),
        ({"inputs": ""}, "the trigger gives no 'table'", "${{ event.field }}"),
        ({"reply": "meta.trigger.chain"}, "the service's own", ""),
        ({"reply": "ml.*"}, "cannot stand in a subject to publish to", ""),
        ({"rate": "fast"}, "10/s", ""),
        ({"debounce": "30s", "batch": "{max: 3, within: 1m}"}, "one of 'debounce', 'batch'", ""),
        ({"batch": "{max: 3, within: 0s}"}, "more than nothing", ""),
        ({"ackWait": "10ms"}, "'ackWait' is at least 1s", ""),
        ({"stream": "a.b"}, "not a name that can stand here", "a stream's name"),
        ({"files": "[x]"}, "files", ""),
        ({"engine": "kfp"}, "engine", ""),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(fields: dict[str, str], message: str, hint: str) -> None:
    found = problems(trigger(**fields))
    assert any(message in p.message and hint in p.hint for p in found), found
    assert all(p.line > 8 and p.path.startswith("triggers[0]") for p in found)


def test_another_workflows_events_can_start_a_run() -> None:
    assert nats(trigger(subject="meta.events.other.*.run.succeeded")).subject.startswith("meta.events.other")


def test_two_triggers_need_two_names() -> None:
    twice = trigger() + trigger().removeprefix("triggers:\n")
    assert [p.path for p in problems(twice)] == ["triggers[1].nats.subject"]
    assert len(load(trigger(name="a") + trigger(name="b").removeprefix("triggers:\n")).triggers) == 2


def test_a_trigger_is_of_some_kind() -> None:
    assert any("exactly one of 'nats', 'schedule'" in p.message for p in problems("triggers: [{}]\n"))
