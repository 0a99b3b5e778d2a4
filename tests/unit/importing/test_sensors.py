"""Sensors as a whole: what starts them, what they do, what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from meta.importing import ImportRefused, Options, Weight, import_file, write
from tests.unit.importing.support import SOURCE, WORKFLOW, create, dependency, make, sensor
from workflows.errors import Conflict, DefinitionInvalid
from workflows.spec.trigger_models import seconds_between

BOTH = dependency() + dependency(name="gone", event="removals")
URI = "{src: {dependencyName: file, dataKey: body.uri, value: none}, dest: spec.arguments.parameters.0.value}"


def test_a_sensor_becomes_a_definition_that_says_where_it_is_from(tmp_path: Path) -> None:
    made = make(tmp_path, sensor())
    assert made.bundle.definition.name == "on-arrival"
    assert made.trigger.subject == "lake.arrived"
    assert "# Imported by `meta import` from sensor.yaml." in (made.folder / "workflow.yaml").read_text()
    assert made.left_out == ""


def test_events_that_must_come_together_are_said_and_the_steps_stay(tmp_path: Path) -> None:
    made = make(tmp_path, sensor(create(URI), dependencies=BOTH))
    assert made.triggers == []
    assert list(made.bundle.definition.steps) == ["ingest"]
    assert "several dependencies together: file && gone" in made.left_out


@pytest.mark.parametrize(
    ("conditions", "subjects", "together"),
    [
        ("file", ["lake.arrived"], ""),
        ("gone || file", ["lake.arrived", "lake.removed"], ""),
        ("file || (file && gone)", ["lake.arrived"], ""),
        ("(file || gone) && file", ["lake.arrived"], ""),
        ("file && gone", [], "file && gone"),
        ("file || other", [], "name 'other'"),
        ("file ||", [], "cannot be read"),
    ],
)
def test_conditions(tmp_path: Path, conditions: str, subjects: list[str], together: str) -> None:
    made = make(tmp_path, sensor(create(URI, template=f"conditions: '{conditions}'\n"), dependencies=BOTH))
    assert sorted(one.subject for one in made.triggers) == subjects
    assert together in made.left_out


def test_two_dependencies_on_one_subject_are_told_apart_by_name(tmp_path: Path) -> None:
    twice = dependency() + dependency(name="file_2")
    made = make(tmp_path, sensor(create(URI, template="conditions: file || file_2\n"), dependencies=twice))
    assert [one.key for one in made.triggers] == ["file", "file-2"]


def test_triggers_that_the_same_events_start_are_steps_of_one_definition(tmp_path: Path) -> None:
    made = make(tmp_path, sensor(create(), create(name="Report It")))
    assert list(made.bundle.definition.steps) == ["ingest", "report_it"]
    assert list(made.bundle.definition.inputs) == ["uri"], "both take the same from the event"


def test_triggers_that_other_events_start_are_definitions_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "sensor.yaml"
    first, second = create(URI, template="conditions: file\n"), create(URI, name="clean", template="conditions: gone\n")
    file.write_text(f"{SOURCE}---\n{sensor(first, second, dependencies=BOTH)}")
    imported = import_file(file, Options())
    assert imported.problems == []
    written = write(imported, tmp_path / "out")
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == [
        "on-arrival-ingest/workflow.yaml", "on-arrival-ingest/ingest.yaml",
        "on-arrival-clean/workflow.yaml", "on-arrival-clean/clean.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(("unit", "seconds"), [("Second", 0.1), ("Minute", 6.0), ("Hour", 360.0)])
def test_a_rate_is_kept(tmp_path: Path, unit: str, seconds: float) -> None:
    made = make(tmp_path, sensor(create(trigger=f"rateLimit: {{unit: {unit}, requestsPerUnit: 10}}\n")))
    assert made.trigger.rate is not None
    assert seconds_between(made.trigger.rate) == seconds
    assert "The rate is the trigger's" in "".join(made.imported.report.guarantees)


def test_only_the_guarantees_that_matter_are_told(tmp_path: Path) -> None:
    plain = "".join(make(tmp_path / "a", sensor()).imported.report.guarantees)
    assert "Without atLeastOnce" in plain
    assert "dlqTrigger" not in plain
    dlq = "atLeastOnce: true\nretryStrategy: {steps: 3}\ndlqTrigger: {template: {name: x, log: {}}}\n"
    made = make(tmp_path / "b", sensor(create(trigger=dlq)))
    told = "".join(made.imported.report.guarantees)
    assert "With atLeastOnce" in told
    assert "Without atLeastOnce" not in told
    assert "dlqTrigger gets it in Argo Events" in told
    assert "dlqTrigger" in made.left_out
    assert "retryStrategy" in made.left_out


def test_what_belongs_to_the_sensor_itself_is_told_and_unknown_keys_are_not_lost(tmp_path: Path) -> None:
    spec = "template: {serviceAccountName: x}\nreplicas: 2\nreplicaz: 3\n"
    more = "conditionsReset: [{byTime: {cron: '0 0 * * *'}}]\n"
    made = make(
        tmp_path,
        sensor(create(template=more, trigger="atLeastOne: true\npolicy: {status: {allow: [200]}}\n"), spec=spec),
    )
    for words in ("conditionsReset", "no key 'replicaz'", "did you mean 'replicas'?", "no key 'atLeastOne'"):
        assert words in made.left_out
    for words in ("replicas:", "the sensor's own pod", "policy"):
        assert words in made.differs


def argo(operation: str, resource: str, more: str = "") -> str:
    return (
        f"- template:\n    name: ingest\n    argoWorkflow:\n      operation: {operation}\n"
        f"      source: {{resource: {resource}}}\n{more}"
    )


FROM = "{apiVersion: argoproj.io/v1alpha1, kind: %s, metadata: {name: nightly}}"


def test_submit_and_its_options(tmp_path: Path) -> None:
    flow = json.dumps(yaml.safe_load(WORKFLOW))
    args = "      args: [-p, uri=s3://x, '--serviceaccount=runner', --loglevel, debug]\n"
    made = make(tmp_path, sensor(argo("submit", flow, args)))
    step = made.bundle.definition.steps["ingest"]
    assert step.parameters == {"uri": "s3://x"}
    assert step.argo is not None and step.argo.service_account == "runner"
    assert "--loglevel" in made.left_out


@pytest.mark.parametrize(("kind", "key"), [("WorkflowTemplate", "template"), ("CronWorkflow", "cron_workflow")])
def test_submit_from_a_template(tmp_path: Path, kind: str, key: str) -> None:
    made = make(tmp_path, sensor(argo("submit-from", FROM % kind)))
    assert getattr(made.bundle.definition.steps["ingest"].argo, key) == "nightly"


def test_a_manifest_that_refers_to_a_template_and_one_as_text(tmp_path: Path) -> None:
    flow = WORKFLOW.partition("spec:")[0] + (
        "spec:\n  workflowTemplateRef: {name: nightly}\n  arguments: {parameters: [{name: uri}]}\n"
    )
    assert make(tmp_path / "a", sensor(create(manifest=flow))).inputs({"uri": "u"}) == {"uri": "u"}
    text = (
        f"- template:\n    name: ingest\n    k8s: {{source: {{inline: {json.dumps(WORKFLOW)}}}, parameters: [{URI}]}}\n"
    )
    assert make(tmp_path / "b", sensor(text)).inputs({"uri": "u"}) == {"uri": "u"}


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        (argo("stop", FROM % "Workflow"), "'stop'"),
        ("- template: {name: tell, slack: {channel: x}}\n", "slack"),
        ("- template: {name: put, k8s: {source: {resource: {apiVersion: v1, kind: Pod}}}}\n", "Pod of v1"),
        ("- template: {name: put, k8s: {operation: patch, source: {}}}\n", "'patch'"),
        ("- template: {name: put, k8s: {source: {s3: {bucket: {name: x}}}}}\n", "s3"),
        ("- template: {name: call, http: {url: 'http://x/apis/v2beta1/runs', method: GET}}\n", "GET http://x"),
        ("- template: {name: call, http: {url: 'http://x/y'}}\n", "http://x/y"),
        ("- template: {name: none}\n", "kind none"),
    ],
)
def test_what_starts_no_engine_run_is_left_to_the_sensor(tmp_path: Path, trigger: str, why: str) -> None:
    made = make(tmp_path / "a", sensor(create(), trigger))
    assert why in made.left_out
    assert list(made.bundle.definition.steps) == ["ingest"]
    with pytest.raises(ImportRefused, match="no trigger of the sensor starts") as refused:
        make(tmp_path / "b", sensor(trigger))
    assert why in str(refused.value)


def test_the_namespace_and_what_else_stands_in_the_metadata(tmp_path: Path) -> None:
    flow = WORKFLOW.replace("generateName: ingest-", "name: ingest, namespace: etl, finalizers: [x], labels: {a: b}")
    made = make(tmp_path, sensor(create(manifest=flow)))
    text = (made.folder / "ingest.yaml").read_text()
    assert "generateName: ingest-" in text and "a: b" in text and "etl" not in text
    assert "namespace 'etl'" in made.differs
    assert "metadata.finalizers" in made.left_out


# Where messages come from


def test_the_event_source_can_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    source.write_text(SOURCE)
    made = make(tmp_path, sensor(), source="", options=Options(event_sources=(source,), stream="LAKE"))
    assert (made.trigger.subject, made.trigger.stream) == ("lake.arrived", "LAKE")


@pytest.mark.parametrize("given", [{"": "a.>"}, {"file": "a.>"}])
def test_a_subject_can_be_given(tmp_path: Path, given: dict[str, str]) -> None:
    assert make(tmp_path, sensor(), source="", options=Options(subjects=given)).trigger.subject == "a.>"


def test_a_subject_that_nobody_says_is_left_to_fill_in_and_validation_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "sensor.yaml"
    file.write_text(sensor())
    imported = import_file(file, Options())
    assert [remark.weight for remark in imported.report.remarks] == [Weight.FILL_IN]
    (problem,) = imported.problems
    assert "subject of lake/arrivals" in problem.message
    assert problem.path == "triggers[0].nats.subject"


def test_connection_and_filter_of_the_event_source_are_told(tmp_path: Path) -> None:
    more = "jsonBody: true, url: 'nats://n:4222', auth: {token: {name: s}}, filter: {expression: 'a == 1'}, metadata"
    made = make(tmp_path, sensor(), source=SOURCE.replace("jsonBody: true, metadata", more))
    assert 'url = "nats://n:4222"' in made.differs
    assert "auth" in made.left_out and "filter of the event source" in made.left_out


# What is refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SOURCE.replace("nats:", "webhook:") + "---\n" + sensor(), "kind 'webhook', not of NATS"),
        ("apiVersion: v1\nkind: Pod\n", "nothing to import: Pod"),
        (sensor() + "---\n" + sensor(), "2 things to import"),
        ("- a\n", "no Kubernetes object"),
        ("# nothing\n", "is empty"),
        (sensor().replace("dependencies:", "dependencies: {}\n  x:"), "dependencies is no list"),
        (sensor().replace("eventName: arrivals", "eventName: [arrivals]"), "eventName is no string"),
        (sensor().replace("dependencies:", "dependencies: []\n  x:"), "no dependencies"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "sensor.yaml"
    file.write_text(text)
    with pytest.raises(ImportRefused, match=why):
        import_file(file, Options(subjects={"": "a.b"} if "webhook" not in text else {}))


def test_broken_yaml_is_refused_with_its_place_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sensor.yaml"
    file.write_text(f"{SOURCE}---\na: [1\nb: 2\n")
    with pytest.raises(DefinitionInvalid, match=r"sensor.yaml:10:"):
        import_file(file, Options())
    file.write_text(f"{SOURCE}---\na: 1\na: 2\n")
    with pytest.raises(DefinitionInvalid, match=r"sensor.yaml:10:1: key 'a' stands twice, first on line 9"):
        import_file(file, Options())


@pytest.mark.parametrize("options", [Options(subjects={"": "a..b"}), Options(subjects={"other": "a.b"})])
def test_wrong_subjects_are_refused(tmp_path: Path, options: Options) -> None:
    file = tmp_path / "sensor.yaml"
    file.write_text(sensor())
    with pytest.raises(ImportRefused, match="--subject"):
        import_file(file, options)


def test_no_file_is_written_over(tmp_path: Path) -> None:
    made = make(tmp_path, sensor())
    with pytest.raises(Conflict, match=r"workflow\.yaml"):
        write(made.imported, made.folder)
    write(made.imported, made.folder, force=True)
