"""Files of compensations, of `finally` and of both sides of a use case are part of a bundle, and checked in it."""

from pathlib import Path
from textwrap import dedent

import pytest

from workflows.bundle import build_bundle, validate_bundle
from workflows.errors import DefinitionInvalid, Problem

DEFINITION = dedent("""\
    apiVersion: meta/v1
    kind: MetaWorkflow
    metadata: {name: chain}
    inputs: {rate: {type: number, default: 0.5}}
    steps:
      train:
        useCase: training
        argo: {manifest: train-argo.yaml}
        kfp: {package: train-kfp.yaml}
        parameters: {rate: "${{ inputs.rate }}"}
        compensate:
          argo: {manifest: undo.yaml}
          parameters: {loss: "${{ steps.train.outputs.loss }}"}
      each:
        foreach: [0.1, 0.2]
        argo: {manifest: undo.yaml}
        parameters: {loss: "${{ item }}"}
    finally:
      clean:
        argo: {manifest: undo.yaml}
        parameters: {loss: "${{ outcome.message }}"}
    """)
ARGO = """\
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    spec:
      entrypoint: main
      arguments: {parameters: [{name: %s}]}
      templates:
        - name: main
          container: {image: i}
          outputs: {parameters: [{name: loss, valueFrom: {path: /x}}, {name: rows, valueFrom: {path: /x}}]}
    """
KFP = """\
    pipelineInfo: {name: train}
    deploymentSpec: {}
    root:
      inputDefinitions: {parameters: {rate: {parameterType: NUMBER_DOUBLE}}}
      outputDefinitions: {parameters: {loss: {parameterType: NUMBER_DOUBLE}, steps: {parameterType: NUMBER_INTEGER}}}
    """


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (
        ("workflow.yaml", DEFINITION),
        ("train-argo.yaml", dedent(ARGO % "rate")),
        ("undo.yaml", dedent(ARGO % "loss")),
        ("train-kfp.yaml", dedent(KFP)),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def problems(folder: Path, old: str, new: str, file: str = "workflow.yaml") -> list[Problem]:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DefinitionInvalid) as caught:
        build_bundle(folder / "workflow.yaml")
    return list(caught.value.problems)


def test_every_file_is_in_the_bundle_and_it_is_valid_wherever_it_travels(folder: Path) -> None:
    bundle = build_bundle(folder / "workflow.yaml")
    assert set(bundle.files) == {"train-argo.yaml", "train-kfp.yaml", "undo.yaml"}
    assert validate_bundle(bundle) == []
    back = bundle.model_validate_json(bundle.model_dump_json(by_alias=True))
    assert (validate_bundle(back), back.digest) == ([], bundle.digest)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ('{loss: "${{ steps', '{lss: "${{ steps', "steps.train.compensate.parameters.lss", "has no parameter 'lss'"),
        ('{loss: "${{ item', '{lss: "${{ item', "steps.each.parameters.lss", "undo.yaml has no parameter 'lss'"),
        ('{loss: "${{ outcome', '{lss: "${{ outcome', "finally.clean.parameters.lss", "has no parameter 'lss'"),
        ("{rate: \"${{ inputs.rate }}\"", "{rate: x", "steps.train.parameters.rate", "train-kfp.yaml takes a number"),
        ("train.outputs.loss", "train.outputs.rows", "steps.train.compensate.parameters.loss", "no output 'rows'"),
        ("train.outputs.loss", "train.outputs.steps", "steps.train.compensate.parameters.loss", "no output 'steps'"),
        ("outcome.message", "steps.each.outputs.los", "finally.clean.parameters.loss", "no output 'los' (undo"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_file_has_its_place(folder: Path, old: str, new: str, place: str, message: str) -> None:
    matching = [p for p in problems(folder, old, new) if message in p.message]
    assert [p.path for p in matching] == [place]
    assert matching[0].line > 0


def test_each_side_of_a_use_case_must_take_what_the_step_passes(folder: Path) -> None:
    found = problems(folder, 'parameters: {rate: "${{ inputs.rate }}"}', "parameters: {rows: 1}")
    assert [p.message for p in found if "has no parameter" in p.message] == [
        "train-argo.yaml has no parameter 'rows'",
        "train-kfp.yaml has no parameter 'rows'",
    ]
    assert len([p for p in found if "needs parameter 'rate'" in p.message]) == 2


def test_a_file_that_is_missing_or_wrong_is_named_where_it_is_used(folder: Path) -> None:
    (folder / "undo.yaml").unlink()
    found = problems(folder, "kind: Workflow", "kind: Wrkflow", "train-argo.yaml")
    places = {p.path: p.message for p in found}
    assert "there is no file 'undo.yaml'" in places["steps.train.compensate.argo.manifest"]
    assert "steps.train.argo.manifest" in places
