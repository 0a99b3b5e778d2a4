"""What engines' files declare is read, and names map between them and definitions."""

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.manifests import (
    ManifestUnreadable,
    Parameter,
    definition_name,
    definition_names,
    engine_name,
    inspect_manifest,
    kfp_artifact_parameter,
)
from workflows.outcome import EngineKind
from workflows.values import ValueType

ARGO = dedent("""\
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {generateName: prepare-}
    spec:
      entrypoint: main
      arguments:
        parameters: [{name: seed, value: "7"}, {name: held-out}, {name: from-map, valueFrom: {configMapKeyRef: {}}}]
        artifacts: [{name: raw}, {name: fixed, s3: {key: k}}, {name: maybe, optional: true}]
      templates:
        - name: main
          dag: {tasks: []}
          outputs:
            parameters: [{name: train-rows, valueFrom: {parameter: x}}]
            artifacts: [{name: dataset, from: x}]
        - name: other
          container: {image: i}
          outputs:
            parameters: [{name: own, valueFrom: {path: /x}}, {name: y, globalName: shared, valueFrom: {path: /y}}]
            artifacts: [{name: z, globalName: everywhere, path: /z}]
    """)
KFP = dedent("""\
    pipelineInfo: {name: train}
    deploymentSpec: {executors: {}}
    root:
      dag: {tasks: {}}
      inputDefinitions:
        parameters:
          dataset_uri: {parameterType: STRING}
          learning_rate: {parameterType: NUMBER_DOUBLE, defaultValue: 0.1}
          note: {parameterType: STRING, isOptional: true}
      outputDefinitions:
        artifacts: {model: {artifactType: {schemaTitle: system.Model}}}
        parameters: {Output: {parameterType: NUMBER_DOUBLE}, many: {parameterType: LIST}}
    ---
    platforms: {kubernetes: {}}
    """)


def test_an_argo_workflow_declares_arguments_and_outputs() -> None:
    info = inspect_manifest(ARGO, EngineKind.ARGO)
    assert info.name == "prepare"
    assert info.parameters == {"seed": Parameter(False), "held-out": Parameter(True), "from-map": Parameter(False)}
    assert info.artifacts == {"raw": True, "fixed": False, "maybe": False}
    assert info.outputs == {"train-rows": None, "shared": None}
    assert info.output_artifacts == {"dataset", "everywhere"}


def test_a_script_at_the_entrypoint_has_a_result() -> None:
    info = inspect_manifest(ARGO.replace("dag: {tasks: []}", "script: {image: i, source: s}"), EngineKind.ARGO)
    assert info.outputs is not None
    assert info.outputs["result"] is ValueType.STRING


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "ClusterWorkflowTemplate"])
def test_templates_are_read_like_workflows(kind: str) -> None:
    manifest = ARGO.replace("kind: Workflow", f"kind: {kind}")
    assert inspect_manifest(manifest, EngineKind.ARGO) == inspect_manifest(ARGO, EngineKind.ARGO)


def test_what_a_template_elsewhere_decides_is_unknown() -> None:
    elsewhere = inspect_manifest(
        ARGO.replace("dag: {tasks: []}", "steps: [[{templateRef: {name: t}}]]"), EngineKind.ARGO
    )
    assert (elsewhere.outputs, elsewhere.output_artifacts) == (None, None)
    referring = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {workflowTemplateRef: {name: t}}"
    info = inspect_manifest(referring, EngineKind.ARGO)
    assert (info.parameters, info.artifacts, info.outputs) == (None, None, None)


def test_a_pipeline_declares_typed_parameters_and_outputs() -> None:
    info = inspect_manifest(KFP, EngineKind.KFP)
    assert info.name == "train"
    assert info.parameters == {
        "dataset_uri": Parameter(True, ValueType.STRING),
        "learning_rate": Parameter(False, ValueType.NUMBER),
        "note": Parameter(False, ValueType.STRING),
    }
    assert info.outputs == {"Output": ValueType.NUMBER, "many": ValueType.LIST}
    assert info.output_artifacts == {"model"}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (ARGO, EngineKind.KFP, "train.yaml is an Argo Workflow, but the step uses kfp"),
        (KFP, EngineKind.ARGO, "train.yaml is a compiled KFP pipeline, but the step uses argo"),
        (
            "apiVersion: v1\nkind: Pod",
            EngineKind.ARGO,
            "neither an Argo Workflow nor a compiled KFP pipeline; it is a Pod",
        ),
        ("just text", EngineKind.KFP, "neither"),
        ("", EngineKind.KFP, "neither"),
        ("- 1", EngineKind.ARGO, "neither"),
        ("a: [", EngineKind.ARGO, " is no YAML"),
        ("a: \x00", EngineKind.ARGO, "is no YAML"),
        ("x" * 1_100_000, EngineKind.ARGO, "has 1,100,000 bytes, 1,048,576 at most"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_what_it_is(text: str, kind: EngineKind, message: str) -> None:
    with pytest.raises(ManifestUnreadable) as caught:
        inspect_manifest(text, kind, "train.yaml")
    assert message in caught.value.message


@pytest.mark.parametrize("text", [
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: [1]",
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {arguments: {parameters: {a: 1}}, templates: x}",
    "pipelineInfo: {}\nroot: {inputDefinitions: [], outputDefinitions: {parameters: {x: 1}}}\ndeploymentSpec: {}",
])  # fmt: skip
def test_a_broken_manifest_declares_nothing_and_is_left_to_the_engine(text: str) -> None:
    kind = EngineKind.KFP if "pipelineInfo" in text else EngineKind.ARGO
    assert inspect_manifest(text, kind).parameters == {}


@pytest.mark.parametrize(
    ("name", "declared", "expected"),
    [
        ("min_accuracy", {"min-accuracy", "other"}, "min-accuracy"),
        ("min_accuracy", {"min-accuracy", "min_accuracy"}, "min_accuracy"),
        ("output", {"Output"}, "Output"),
        ("unknown_name", {"x"}, "unknown_name"),
        ("unknown_name", set[str](), "unknown_name"),
    ],
)
def test_the_engines_own_name_is_found(name: str, declared: set[str], expected: str) -> None:
    assert engine_name(name, declared) == expected


@given(st.text(min_size=1))
def test_every_engine_name_has_a_definition_name_that_finds_it(engine: str) -> None:
    name = definition_name(engine)
    assert name[0].isascii() and name[0].islower()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert engine_name(name, {engine}) == engine


def test_of_two_names_that_become_one_the_exact_one_wins() -> None:
    assert definition_names({"a_b": 1, "a-b": 2}) == {"a_b": 1}
    assert definition_names({"a-b": 2, "a_b": 1}) == {"a_b": 1}


def test_an_artifact_goes_to_kfp_as_a_uri_parameter() -> None:
    assert kfp_artifact_parameter("model", {"model_uri", "model"}) == "model_uri"
    assert kfp_artifact_parameter("model", {"model"}) == "model"
    assert kfp_artifact_parameter("model", set()) == "model"
