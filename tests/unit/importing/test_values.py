"""What a sensor takes from events becomes inputs of the trigger, and parameters of the step."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.importing.support import SOURCE, Made, create, dependency, make, sensor
from workflows.errors import ExpressionFailed
from workflows.values import JsonValue


def src(words: str, dest: str = "spec.arguments.parameters.0.value", more: str = "") -> str:
    return f"{{src: {{dependencyName: file, {words}}}, dest: {dest}{more}}}"


def taken(folder: Path, *parameters: str, **more: str) -> Made:
    return make(folder, sensor(create(*parameters, **more)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("s3://x", "s3://x"),
        (5, "5"),
        (True, "true"),
        ({"a": [1]}, '{"a": [1]}'),
        (None, "null"),
        ("${{ x }}", "${{ x }}"),
    ],
)
def test_a_field_of_any_type_becomes_text(tmp_path: Path, value: JsonValue, text: str) -> None:
    made = taken(tmp_path, src("dataKey: body.uri"))
    assert made.inputs({"uri": value}) == {"uri": text}
    assert made.parameters() == {"uri": "${{ inputs.uri }}"}


def test_a_missing_field_has_the_value_beside_it_or_puts_the_message_aside(tmp_path: Path) -> None:
    assert taken(tmp_path / "a", src("dataKey: body.x, value: 'it''s $${{ so }}'")).inputs({}) == {
        "uri": "it's $${{ so }}"
    }
    with pytest.raises(ExpressionFailed):
        taken(tmp_path / "b", src("dataKey: body.x")).inputs({})


def test_a_template_of_fields_is_followed_and_a_program_is_said(tmp_path: Path) -> None:
    made = taken(tmp_path / "a", src('dataTemplate: "s3://{{ .Input.body.bucket }}/{{.Input.body.key}}?v=1"'))
    assert made.inputs({"bucket": "b", "key": 7}) == {"uri": "s3://b/7?v=1"}
    alone = taken(tmp_path / "b", src("dataTemplate: '{{ .Input.body.n }}', value: none"))
    assert (alone.inputs({"n": 7}), alone.inputs({})) == ({"uri": "7"}, {"uri": "none"})
    mode = src("dataKey: body.n", "spec.arguments.parameters.1.value")
    upper = taken(tmp_path / "c", src("dataTemplate: '{{ .Input.body.n | upper }}'"), mode)
    assert "upper" in upper.left_out
    assert upper.bundle.definition.inputs["uri"].is_required is False


def test_the_context_of_an_event_is_known_but_for_its_id(tmp_path: Path) -> None:
    where = "spec.arguments.parameters.1.value"
    made = taken(tmp_path, src("contextKey: source"), src("contextKey: time", where))
    assert made.parameters()["uri"] == "lake"
    assert made.inputs({}) == {"mode": "2026-05-01T12:00:00+00:00"}
    assert "the time of the event" in made.differs
    unknown = taken(tmp_path / "id", src("contextKey: id"))
    assert "made up by the event source" in unknown.left_out


def test_the_whole_event_is_the_messages_data_and_that_is_said(tmp_path: Path) -> None:
    made = make(tmp_path, sensor(create("{src: {dependencyName: file}, dest: spec.arguments.parameters.0.value}")))
    assert made.inputs({"a": 1}) == {"uri": '{"a": 1}'}
    assert "in base64; here it is the message's data" in made.differs


def test_a_body_that_the_sensor_sees_in_base64_is_said(tmp_path: Path) -> None:
    source = SOURCE.replace("arrived, jsonBody: true", "arrived")
    made = make(tmp_path, sensor(create(src("dataKey: body"))), source=source)
    assert "jsonBody is not set" in made.differs


def test_values_are_put_before_and_behind_what_stands_there(tmp_path: Path) -> None:
    where = "spec.arguments.parameters.1.value"
    made = taken(
        tmp_path, src("dataKey: body.uri"), src("dataKey: body.a", where, ", operation: append"),
        src("value: '<'", where, ", operation: prepend"),
    )  # fmt: skip
    assert made.inputs({"uri": "u", "a": 5}) == {"uri": "u", "mode": "<full5"}


def test_a_constant_becomes_no_input(tmp_path: Path) -> None:
    made = taken(tmp_path, src("value: s3://always"))
    assert made.parameters() == {"uri": "s3://always"}
    assert made.bundle.definition.inputs == {}


def test_a_field_of_a_template_becomes_a_parameter_of_the_workflow(tmp_path: Path) -> None:
    image = src("dataKey: body.image, value: 'busybox:2'", "spec.templates.0.container.image")
    made = taken(tmp_path, src("dataKey: body.uri"), image)
    manifest = yaml.safe_load((made.folder / "ingest.yaml").read_text())
    assert manifest["spec"]["templates"][0]["container"]["image"] == "{{workflow.parameters.image}}"
    assert manifest["spec"]["arguments"]["parameters"][-1] == {"name": "image", "value": "busybox:1"}
    assert made.inputs({"uri": "u"}) == {"uri": "u", "image": "busybox:2"}


@pytest.mark.parametrize(
    "dest",
    [
        "metadata.namespace", "metadata.name", "spec.entrypoint", "spec.templates.0.name",
        "spec.arguments.parameters.7.value", "spec.arguments.parameters.-1", "spec.templates.0.container.args",
    ],
)  # fmt: skip
def test_other_places_do_not_depend_on_events(tmp_path: Path, dest: str) -> None:
    made = taken(tmp_path, src("dataKey: body.uri"), src("dataKey: body.x", dest))
    assert made.inputs({"uri": "u"}) == {"uri": "u"}
    assert "sensor.yaml:38:" in made.left_out


def test_a_constant_can_stand_anywhere_in_the_manifest(tmp_path: Path) -> None:
    constants = src("value: batch", "spec.serviceAccountName"), src("value: ml", "metadata.labels.team")
    made = taken(tmp_path, src("dataKey: body.uri"), *constants)
    manifest = yaml.safe_load((made.folder / "ingest.yaml").read_text())
    assert manifest["spec"]["serviceAccountName"] == "batch"
    assert manifest["metadata"] == {"generateName": "ingest-", "labels": {"team": "ml"}}


def test_parameters_of_the_trigger_reach_the_manifest_too(tmp_path: Path) -> None:
    outer = f"""\
        parameters:
          - {src("dataKey: body.uri", "k8s.source.resource.spec.arguments.parameters.0.value")}
          - {src("dataKey: body.name", "name")}
        """
    made = make(tmp_path, sensor(create(src("value: x", "spec.arguments.parameters.1.value"), trigger=outer)))
    assert made.inputs({"uri": "u"}) == {"uri": "u"}
    assert "'name' of the trigger itself" in made.left_out


def test_each_dependency_that_starts_the_trigger_gives_its_own_values(tmp_path: Path) -> None:
    both = dependency() + dependency(name="gone", event="removals")
    where = "spec.arguments.parameters.1.value"
    parameters = (
        src("dataKey: body.uri"),
        "{src: {dependencyName: gone, dataKey: body.path}, dest: spec.arguments.parameters.0.value}",
        "{src: {dependencyName: gone, dataKey: body.why}, dest: " + where + "}",
    )
    made = make(tmp_path, sensor(create(*parameters, template="conditions: file || gone\n"), dependencies=both))
    first, second = made.triggers
    assert (first.subject, second.subject) == ("lake.arrived", "lake.removed")
    assert first.inputs == {"uri": "${{ event.data.uri }}${{ '' }}"}
    assert second.inputs == {"uri": "${{ event.data.path }}${{ '' }}", "mode": "${{ event.data.why }}${{ '' }}"}
    assert made.bundle.definition.inputs["mode"].default == "full"
