"""Compiled pipelines: names, types, and the outputs found among a run's tasks."""

from __future__ import annotations

import pytest
import yaml

from tests.stubs.pipelines import package, pipeline_spec
from workers.engines.kfp.ir import Pipeline, parse_package, pipeline_of_api, runtime_parameters
from workers.engines.kfp.tasks import ArtifactRecord, TaskRecord, read_pipeline_outputs
from workflows.errors import BundleInvalid, InputsInvalid
from workflows.outcome import Artifact
from workflows.values import JsonObject, JsonValue

KINDS = {
    "text": "STRING",
    "whole": "NUMBER_INTEGER",
    "real": "NUMBER_DOUBLE",
    "flag": "BOOLEAN",
    "many": "LIST",
    "thing": "STRUCT",
}


def pipeline(**kinds: str) -> Pipeline:
    return Pipeline(pipeline_spec(parameters=kinds), {})


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("text", 7, "7"),
        ("text", {"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ("text", "7", "7"),
        ("whole", "3", 3),
        ("whole", 3.0, 3),
        ("real", 1, 1.0),
        ("real", "0.5", 0.5),
        ("flag", "true", True),
        ("many", "[1]", [1]),
        ("thing", '{"a": 1}', {"a": 1}),
        ("whole", None, None),
    ],
)
def test_values_get_the_type_that_the_pipeline_declares(name: str, given: JsonValue, expected: JsonValue) -> None:
    values = runtime_parameters(pipeline(**KINDS), {name: given}, {})
    assert values == {name: expected}
    assert type(values[name]) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("whole", 3.5, "an integer"),
        ("whole", True, "an integer"),
        ("real", "fast", "a number"),
        ("flag", 1, "true or false"),
        ("many", {}, "a list"),
        ("thing", "[1]", "an object"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name: str, given: JsonValue, words: str) -> None:
    with pytest.raises(InputsInvalid, match=f"parameter '{name}' of the pipeline is {words}"):
        runtime_parameters(pipeline(**KINDS), {name: given}, {})


def test_an_artifact_goes_as_its_uri_with_the_suffix_where_that_is_declared() -> None:
    given = {name: Artifact(name="a", uri=f"s3://b/{name}") for name in ("data_set", "model")}
    declared = pipeline(**{"data-set-uri": "STRING", "data-set": "STRING", "model": "STRING"})
    assert runtime_parameters(declared, {}, given) == {"data-set-uri": "s3://b/data_set", "model": "s3://b/model"}


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(InputsInvalid, match="no parameter for parameter 'reel'") as caught:
        runtime_parameters(pipeline(**KINDS), {"reel": 1}, {})
    assert caught.value.hint == "did you mean 'real'?"


def test_a_package_may_have_a_platform_spec_which_goes_along() -> None:
    platform: JsonObject = {"platforms": {"kubernetes": {}}}
    parsed = parse_package(package(pipeline_spec()) + "---\n" + yaml.safe_dump(platform), "p.yaml")
    assert parsed.for_api() == {"pipeline_spec": parsed.spec, "platform_spec": platform}
    assert pipeline_of_api(parsed.for_api()) == parsed
    assert parse_package(package(pipeline_spec()), "p.yaml").for_api() == pipeline_spec()


@pytest.mark.parametrize("text", ["kind: Workflow", "[", ""])
def test_what_is_no_pipeline_is_refused_by_the_files_name(text: str) -> None:
    with pytest.raises(BundleInvalid, match=r"p\.yaml: "):
        parse_package(text, "p.yaml")


def test_without_the_cache_nested_tasks_run_anew_too_and_the_original_is_left_alone() -> None:
    spec = pipeline_spec()
    spec["components"] = {"inner": {"dag": {"tasks": {"a": {"cachingOptions": {"enableCache": True}}}}}}
    original = Pipeline(spec, {})
    changed = str(original.without_cache().spec)
    assert "True" not in changed
    assert changed.count("'enableCache': False") == 2
    assert str(original.spec).count("'enableCache': True") == 2


def selector(task: str, key: str) -> JsonObject:
    return {"producerSubtask": task, "outputParameterKey": key}


def task(component: str, **more: JsonValue) -> JsonObject:
    return {"componentRef": {"name": component}, **more}


NESTED = Pipeline(
    {
        "pipelineInfo": {"name": "nested"},
        "root": {
            "outputDefinitions": {
                "parameters": {
                    "deep": {"parameterType": "NUMBER_INTEGER"},
                    "either": {"parameterType": "STRING"},
                    "all": {"parameterType": "LIST"},
                    "never": {"parameterType": "STRING"},
                },
                "artifacts": {"models": {"artifactType": {"schemaTitle": "system.Model"}}},
            },
            "dag": {
                "outputs": {
                    "parameters": {
                        "deep": {"valueFromParameter": selector("inner", "out")},
                        "either": {
                            "valueFromOneof": {"parameterSelectors": [selector("if", "x"), selector("else", "x")]}
                        },
                        "all": {"valueFromParameter": selector("loop", "each")},
                        "never": {"valueFromParameter": selector("if", "x")},
                    },
                    "artifacts": {
                        "models": {"artifactSelectors": [{"producerSubtask": "loop", "outputArtifactKey": "model"}]}
                    },
                },
                "tasks": {
                    "inner": task("dag-inner"),
                    "if": task("leaf"),
                    "else": task("leaf"),
                    "loop": task("dag-loop", parameterIterator={"itemInput": "i"}),
                },
            },
        },
        "components": {
            "leaf": {"executorLabel": "e"},
            "dag-inner": {
                "dag": {
                    "outputs": {"parameters": {"out": {"valueFromParameter": selector("add", "Output")}}},
                    "tasks": {"add": task("leaf")},
                }
            },
            "dag-loop": {
                "dag": {
                    "outputs": {
                        "parameters": {"each": {"valueFromParameter": selector("fit", "score")}},
                        "artifacts": {
                            "model": {"artifactSelectors": [{"producerSubtask": "fit", "outputArtifactKey": "m"}]}
                        },
                    },
                    "tasks": {"fit": task("leaf")},
                }
            },
        },
    },
    {},
)


def test_outputs_are_found_through_nested_dags_branches_and_loops() -> None:
    tasks = [
        TaskRecord("0", ""),
        TaskRecord("1", "inner", "0"),
        TaskRecord("2", "add", "1", parameters={"Output": 5.0}),
        TaskRecord("3", "add", "0", parameters={"Output": 99}),  # of the same name, elsewhere
        TaskRecord("4", "else", "0", parameters={"x": "taken"}),
        TaskRecord("5", "loop", "0"),
        TaskRecord("7", "loop", "5", iteration=1),
        TaskRecord("6", "loop", "5", iteration=0),
        TaskRecord("8", "fit", "6", parameters={"score": 1}, artifacts={"m": [ArtifactRecord("s3://b/0")]}),
        TaskRecord("9", "fit", "7", parameters={"score": 2}, artifacts={"m": [ArtifactRecord("s3://b/1")]}),
    ]
    found = read_pipeline_outputs(NESTED, tasks)
    assert found.parameters == {"deep": 5, "either": "taken", "all": [1, 2]}
    assert isinstance(found.parameters["deep"], int)
    assert [record.uri for record in found.artifacts["models"]] == ["s3://b/0", "s3://b/1"]


def test_null_is_an_output_and_what_the_root_has_is_taken_from_there() -> None:
    declared = Pipeline(pipeline_spec(outputs={"a": "STRING", "b": "STRING"}), {})
    tasks = [
        TaskRecord("0", "", parameters={"a": "from the root"}),
        TaskRecord("1", "train", "0", parameters={"a": "x", "b": None}),
    ]
    assert read_pipeline_outputs(declared, tasks).parameters == {"a": "from the root", "b": None}


def test_without_a_root_task_there_are_no_outputs() -> None:
    declared = Pipeline(pipeline_spec(outputs={"a": "STRING"}), {})
    assert read_pipeline_outputs(declared, []).parameters == {}
