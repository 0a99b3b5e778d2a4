"""The trace context in every form of a submission: where it stands, what keeps its own, what stays as it was."""

from __future__ import annotations

from typing import cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage import get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator

from tests.integration.engines.submissions import argo_submission, key
from tests.stubs.pipelines import pipeline_spec
from workers.engines.argo.manifest import build_workflow
from workers.engines.argo.outcome import read_outcome
from workers.engines.base import Submission
from workers.engines.json_view import child, children
from workers.engines.kfp.ir import Pipeline, runtime_parameters
from workers.engines.trace_context import MAX_BAGGAGE, harmless
from workers.settings import ArgoSettings, StoreSettings
from workers.submission import make_submission
from workflows.bundle import Bundle
from workflows.messages import ResolvedStep, SubmitStep
from workflows.spec.models import MetaWorkflow
from workflows.spec.sources import ArgoSource
from workflows.trace import engine_span_id, trace_id
from workflows.values import JsonObject, JsonValue

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = {"traceparent": PARENT, "tracestate": "a=b", "baggage": "team=ml"}
ENV: list[JsonValue] = [
    {"name": "TRACEPARENT", "value": PARENT},
    {"name": "TRACESTATE", "value": "a=b"},
    {"name": "BAGGAGE", "value": "team=ml"},
]


def built(submission: Submission, cron: JsonObject | None = None) -> JsonObject:
    return build_workflow(submission, ArgoSettings(url="http://a"), StoreSettings(), None, cron)


def spec_of(text: str, **more: object) -> JsonObject:
    """The spec that is made of a manifest's templates, in YAML."""
    spec = {"entrypoint": "main", "templates": yaml.safe_load(text), **more}
    manifest = yaml.safe_dump({"kind": "Workflow", "spec": spec})
    return child(built(argo_submission(manifest=manifest, trace=TRACE)), "spec")


def env_of(spec: JsonObject, *path: str | int) -> JsonValue:
    """`env` of the container at a path below the templates."""
    found: JsonValue = spec["templates"]
    for part in path:
        found = cast("list[JsonValue]", found)[part] if isinstance(part, int) else cast("JsonObject", found)[part]
    return cast("JsonObject", found).get("env")


def test_a_container_and_a_script_have_it_in_their_environment() -> None:
    spec = spec_of("[{name: main, container: {image: a}}, {name: s, script: {image: a, source: x}}]")
    assert env_of(spec, 0, "container") == ENV
    assert env_of(spec, 1, "script") == ENV


def test_every_container_of_a_set_has_it_and_so_have_init_containers_and_sidecars() -> None:
    spec = spec_of(
        "[{name: main, containerSet: {containers: [{name: a, image: a}, {name: main, image: b}]},"
        " initContainers: [{name: i, image: i}]}, {name: side, sidecars: [{name: s, image: s}]}]"
    )
    assert env_of(spec, 0, "containerSet", "containers", 0) == ENV
    assert env_of(spec, 0, "containerSet", "containers", 1) == ENV
    assert env_of(spec, 0, "initContainers", 0) == ENV
    assert env_of(spec, 1, "sidecars", 0) == ENV


def test_templates_that_stand_inline_in_tasks_and_steps_have_it_at_any_depth() -> None:
    spec = spec_of(
        """
        - name: main
          dag:
            tasks:
              - {name: a, inline: {container: {image: a}}}
              - {name: b, inline: {steps: [[{name: c, inline: {script: {image: a, source: x}}}]]}}
              - {name: d, templateRef: {name: t, template: u}}
        """
    )
    assert env_of(spec, 0, "dag", "tasks", 0, "inline", "container") == ENV
    assert env_of(spec, 0, "dag", "tasks", 1, "inline", "steps", 0, 0, "inline", "script") == ENV
    assert env_of(spec, 0, "dag", "tasks", 2) is None


def test_what_has_no_container_stays_as_it_is() -> None:
    text = """
        - {name: main, steps: [[{name: a, templateRef: {name: t, template: u}}]]}
        - {name: wait, suspend: {}}
        - {name: make, resource: {action: create, manifest: x}}
        - {name: ask, http: {url: "http://x"}}
    """
    assert spec_of(text)["templates"] == yaml.safe_load(text)


def test_what_a_container_sets_itself_stays_and_its_own_variables_may_refer_to_ours() -> None:
    own: list[JsonValue] = [
        {"name": "TRACEPARENT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "HEADER", "value": "baggage: $(BAGGAGE)"},
    ]
    text = yaml.safe_dump([{"name": "main", "container": {"image": "a", "env": own}}])
    assert env_of(spec_of(text), 0, "container") == [*ENV[1:], *own]


def test_what_the_templates_defaults_set_stays() -> None:
    defaults = {"container": {"env": [{"name": "BAGGAGE", "value": "own=1"}]}}
    spec = spec_of("[{name: main, container: {image: a}}]", templateDefaults=defaults)
    assert env_of(spec, 0, "container") == ENV[:2]


def test_a_template_on_the_server_stays_its_own_and_the_workflow_carries_it_in_annotations() -> None:
    for source in (ArgoSource(template="t"), ArgoSource(cluster_template="t")):
        workflow = built(argo_submission(source=source, trace=TRACE))
        assert set(child(workflow, "spec")) == {"workflowTemplateRef"}
        annotations = child(workflow, "metadata", "annotations")
        assert {name: annotations[f"meta-workflows/{name}"] for name in TRACE} == TRACE


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "CronWorkflow"])
def test_a_template_or_cron_workflow_in_a_file_has_it_too(kind: str) -> None:
    spec: JsonObject = {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "a"}}]}
    manifest = yaml.safe_dump({"kind": kind, "spec": {"workflowSpec": spec} if kind == "CronWorkflow" else spec})
    assert env_of(child(built(argo_submission(manifest=manifest, trace=TRACE)), "spec"), 0, "container") == ENV


def test_what_a_cron_workflow_on_the_server_would_make_has_it_and_the_cron_workflow_stays_as_it_was() -> None:
    cron: JsonObject = {"spec": {"workflowSpec": {"templates": [{"name": "main", "container": {"image": "a"}}]}}}
    workflow = built(argo_submission(source=ArgoSource(cron_workflow="nightly"), trace=TRACE), cron)
    assert env_of(child(workflow, "spec"), 0, "container") == ENV
    assert "env" not in yaml.safe_dump(cron)


def test_the_declared_parameter_has_it_unless_the_step_passes_one() -> None:
    manifest = yaml.safe_dump({"kind": "Workflow", "spec": {"arguments": {"parameters": [{"name": "traceparent"}]}}})
    for given_, expected in (({}, PARENT), ({"traceparent": "own"}, "own")):
        parameters: JsonObject = {**given_}
        workflow = built(argo_submission(manifest=manifest, parameters=parameters, trace=TRACE))
        assert children(workflow, "spec", "arguments", "parameters") == [{"name": "traceparent", "value": expected}]


def test_baggage_that_would_make_the_object_too_large_is_left_to_the_annotation() -> None:
    large = {**TRACE, "baggage": "k=" + "x" * 8000}
    for count, in_environment in ((8, True), (MAX_BAGGAGE // 8002 + 1, False)):
        templates = [{"name": f"t{n}", "container": {"image": "a"}} for n in range(count)]
        manifest = yaml.safe_dump({"kind": "Workflow", "spec": {"templates": templates}})
        workflow = built(argo_submission(manifest=manifest, trace=large))
        assert child(workflow, "metadata", "annotations")["meta-workflows/baggage"] == large["baggage"]
        env = cast("list[JsonObject]", env_of(child(workflow, "spec"), count - 1, "container"))
        assert ("BAGGAGE" in [one["name"] for one in env]) is in_environment


def test_a_pipelines_containers_have_it_and_importers_and_their_own_variables_stay() -> None:
    own: JsonObject = {"name": "TRACEPARENT", "value": "own"}
    executors: JsonObject = {
        "exec-a": {"container": {"image": "a"}},
        "exec-b": {"container": {"image": "a", "env": [own]}},
        "exec-i": {"importer": {"artifactUri": {"constant": "s3://x"}}},
    }
    deployment: JsonObject = {"executors": executors}
    spec: JsonObject = {**pipeline_spec(), "deploymentSpec": deployment}
    before = yaml.safe_dump(spec)
    sent = child(Pipeline(spec, {}).with_variables(TRACE).spec, "deploymentSpec", "executors")
    assert child(sent, "exec-a", "container")["env"] == ENV
    assert child(sent, "exec-b", "container")["env"] == [*ENV[1:], own]
    assert sent["exec-i"] == executors["exec-i"]
    assert yaml.safe_dump(spec) == before


def test_a_pipelines_text_parameter_of_that_name_has_it_unless_the_step_passes_one() -> None:
    def values(kind: str, **passed: JsonValue) -> JsonObject:
        return runtime_parameters(Pipeline(pipeline_spec(parameters={"traceparent": kind}), {}), passed, {}, TRACE)

    assert values("STRING") == {"traceparent": PARENT}
    assert values("STRING", traceparent="own") == {"traceparent": "own"}
    assert values("NUMBER_DOUBLE") == {}
    assert runtime_parameters(Pipeline(pipeline_spec(), {}), {}, {}, TRACE) == {}


def submission(trace: dict[str, str], sampling: float = 1.0) -> Submission:
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "chain"},
            "steps": {"prepare": {"argo": {"template": "t"}}},
        }
    )  # fmt: skip
    message = SubmitStep(
        bundle_digest="sha256:x", definition_name="chain", key=key(), name="n", resolved=ResolvedStep(), trace=trace
    )
    return make_submission(message, Bundle(definition=definition, files={}), sampling)


def test_code_in_an_engine_run_is_below_the_span_of_its_attempt_and_a_second_try_says_the_same() -> None:
    made = submission(TRACE)
    assert made.trace == {**TRACE, "traceparent": f"00-{trace_id('chain-1', TRACE)}-{engine_span_id(key())}-01"}
    assert submission(TRACE) == made


def test_the_digest_is_the_same_with_any_trace() -> None:
    assert len({submission(trace).spec_digest for trace in ({}, TRACE, {"baggage": "a=b"})}) == 1


def test_a_trace_that_begins_here_says_whether_it_is_exported() -> None:
    assert submission({}).trace["traceparent"].endswith("-01")
    assert submission({}, sampling=0).trace["traceparent"].endswith("-00")
    assert submission(TRACE, sampling=0).trace["traceparent"].endswith("-01"), "as its cause says"
    level_2 = {"traceparent": PARENT.removesuffix("01") + "fe"}
    assert submission(level_2).trace["traceparent"].endswith("-02"), "that its id is random is passed on"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=',;="\\'), max_size=30))
def test_no_engine_takes_a_callers_baggage_for_more_than_text_and_its_reader_reads_what_was_sent(value: str) -> None:
    def read(baggage: str) -> object:
        return get_all(W3CBaggagePropagator().extract({"baggage": baggage}))

    sent = f"k={value}"
    passed = harmless({"baggage": sent})["baggage"]
    assert not set("${}") & set(passed)
    assert read(passed) == read(sent)


@pytest.mark.parametrize("state", ["a={{workflow.name}}", "a=$(SECRET)"])
def test_a_tracestate_that_an_engine_would_expand_is_left_out(state: str) -> None:
    assert harmless({**TRACE, "tracestate": state}) == {"traceparent": PARENT, "baggage": "team=ml"}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"), ("0" * 32, ""), ("broken", "")],
)
def test_the_trace_that_argo_makes_itself_is_read_from_its_annotation(annotation: str, expected: str) -> None:
    workflow: JsonObject = {
        "metadata": {"name": "w", "annotations": {"workflows.argoproj.io/trace-id": annotation}},
        "status": {"phase": "Succeeded"},
    }
    assert read_outcome(workflow, cancelled=False).own_trace == expected
    assert read_outcome({"status": {"phase": "Failed"}}, cancelled=False).own_trace == ""
