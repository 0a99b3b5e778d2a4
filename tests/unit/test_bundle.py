"""A bundle is built from a definition and its files, or refused with the place of every reference that is wrong."""

# ruff: noqa: E501, PLR0917 - a table of cases, a line for each

from pathlib import Path
from textwrap import dedent

import pytest

from workflows.bundle import Bundle, build_bundle, validate_bundle
from workflows.errors import BundleInvalid, DefinitionInvalid, Problem

CATALOG = Path(__file__).parents[2] / "workflows" / "catalog" / "hybrid-training" / "workflow.yaml"
DEFINITION = dedent("""\
    apiVersion: meta/v1
    kind: MetaWorkflow
    metadata: {name: chain}
    inputs: {rate: {type: number, default: 0.5}}
    steps:
      prepare:
        argo: {manifest: prepare.yaml}
        parameters: {held_out: "${{ inputs.rate }}"}
        outputs: {train_rows: integer}
      train:
        kfp: {package: kfp/train.yaml}
        parameters:
          learning_rate: ${{ inputs.rate }}
          rows: ${{ steps.prepare.outputs.train_rows }}
        artifacts: {dataset: "${{ steps.prepare.artifacts.dataset }}"}
    outputs: {loss: "${{ steps.train.outputs.loss }}"}
    """)
PREPARE = dedent("""\
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    spec:
      entrypoint: main
      arguments: {parameters: [{name: held-out}]}
      templates:
        - name: main
          container: {image: i}
          outputs:
            parameters: [{name: train-rows, valueFrom: {path: /x}}, {name: note, valueFrom: {path: /x}}]
            artifacts: [{name: dataset, path: /d}]
    """)
TRAIN = dedent("""\
    pipelineInfo: {name: train}
    deploymentSpec: {}
    root:
      inputDefinitions:
        parameters:
          dataset_uri: {parameterType: STRING}
          learning_rate: {parameterType: NUMBER_DOUBLE}
          rows: {parameterType: NUMBER_INTEGER, isOptional: true}
      outputDefinitions:
        artifacts: {model: {}}
        parameters: {loss: {parameterType: NUMBER_DOUBLE}}
    """)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kfp").mkdir()
    (tmp_path / "workflow.yaml").write_text(DEFINITION)
    (tmp_path / "prepare.yaml").write_text(PREPARE)
    (tmp_path / "kfp" / "train.yaml").write_text(TRAIN)
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def problems(folder: Path) -> list[Problem]:
    with pytest.raises(DefinitionInvalid) as caught:
        build_bundle(folder / "workflow.yaml")
    return list(caught.value.problems)


def test_a_bundle_holds_the_definition_and_its_files(folder: Path) -> None:
    bundle = build_bundle(folder / "workflow.yaml")
    assert bundle.files == {"prepare.yaml": PREPARE, "kfp/train.yaml": TRAIN}
    assert bundle.source == DEFINITION
    assert validate_bundle(bundle) == []


def test_the_catalogues_chain_is_a_valid_bundle() -> None:
    assert validate_bundle(build_bundle(CATALOG)) == []


def test_the_digest_is_of_the_content_and_survives_travel(folder: Path) -> None:
    bundle = build_bundle(folder / "workflow.yaml")
    for unset, defaults, alias in ((False, False, False), (True, False, True), (False, True, False)):
        text = bundle.model_dump_json(by_alias=alias, exclude_unset=unset, exclude_defaults=defaults)
        assert Bundle.model_validate_json(text).digest == bundle.digest
    edit(folder / "workflow.yaml", "kind:", "# a comment\nkind:")
    assert build_bundle(folder / "workflow.yaml").digest == bundle.digest
    edit(folder / "prepare.yaml", "image: i", "image: j")
    assert build_bundle(folder / "workflow.yaml").digest != bundle.digest


def test_a_default_of_null_and_no_default_have_different_digests(folder: Path) -> None:
    file = folder / "workflow.yaml"
    edit(file, "default: 0.5", "default: null")
    with_null = build_bundle(file).digest
    edit(file, ", default: null", "")
    assert build_bundle(file).digest != with_null


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "hint"),
    [
        ("manifest: prepare.yaml", "manifest: prepar.yaml", 7, "there is no file 'prepar.yaml'", "'prepare.yaml'"),
        ("kfp/train.yaml", "kfp/trian.yaml", 11, "there is no file 'kfp/trian.yaml'", "'kfp/train.yaml'"),
        ("prepare.yaml", "../prepare.yaml", 7, "outside the definition's folder", "beside"),
        ("prepare.yaml", "/etc/passwd", 7, "outside the definition's folder", "beside"),
        ("prepare.yaml", "link", 7, "outside the definition's folder", "beside"),
        ("prepare.yaml", "kfp", 7, "'kfp' cannot be read", ""),
        ("manifest: prepare.yaml", "manifest: kfp/train.yaml", 7, "is a compiled KFP pipeline, but the step uses argo", "'kfp'"),
        ("package: kfp/train.yaml", "package: prepare.yaml", 11, "prepare.yaml is an Argo Workflow, but the step uses kfp", "'argo'"),
        ("package: kfp/train.yaml", "package: workflow.yaml", 11, "neither an Argo Workflow nor a compiled KFP", "compile"),
        ("prepare.yaml", "large.yaml", 7, "large.yaml has 1,100,000 bytes, 1,048,576 at most", "artifact"),
        ("prepare.yaml", "binary", 7, "'binary' is not UTF-8", ""),
        ("{held_out:", "{heldout:", 8, "prepare.yaml has no parameter 'heldout'", "did you mean 'held_out'?"),
        ("parameters: {held_out: \"${{ inputs.rate }}\"}", "description: x", 6, "prepare.yaml needs parameter 'held_out'", ""),
        ("learning_rate: ${{ inputs.rate", "learning_rat: ${{ inputs.rate", 13, "has no parameter 'learning_rat'", "'learning_rate'?"),
        ("${{ steps.prepare.outputs.train_rows }}", "${{ inputs.rate }}", 14, "takes an integer, this is a number", "int(x)"),
        ("${{ steps.prepare.outputs.train_rows }}", "many", 14, "takes an integer, this is a string", ""),
        ("rows: ${{", "dataset_uri: ${{", 14, "passed twice", ""),
        ("{dataset:", "{datset:", 15, "has no parameter 'datset_uri' or 'datset'", "did you mean 'dataset'?"),
        ("artifacts: {dataset: \"${{ steps.prepare.artifacts.dataset }}\"}", "timeout: 1h", 12,
         "needs parameter 'dataset_uri'", "artifact 'dataset' under 'artifacts'"),
        ("artifacts.dataset }}", "artifacts.dataste }}", 15, "step 'prepare' has no artifact 'dataste'", "'dataset'?"),
        ("outputs.loss }}", "outputs.los }}", 16, "step 'train' has no output 'los' (kfp/train.yaml", "'loss'?"),
        ("outputs: {train_rows: integer}", "outputs: {rows: integer}", 9, "prepare.yaml has no output 'rows'", "train_rows"),
        ("outputs.train_rows }}", "outputs.note + 1 }}", 14, "'+' cannot be applied to a string and an integer",
         "declare the type: steps.prepare.outputs: {note: number}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_has_the_place_of_the_reference(
    folder: Path, old: str, new: str, line: int, message: str, hint: str
) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "large.yaml").write_text("x" * 1_100_000)
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    edit(folder / "workflow.yaml", old, new)
    matching = [p for p in problems(folder) if message in p.message]
    assert matching, problems(folder)
    assert matching[0].line == line
    assert matching[0].column > 1
    assert matching[0].file == str(folder / "workflow.yaml")
    assert hint in matching[0].hint


def test_an_argo_artifact_that_is_needed_or_unknown_is_named(folder: Path) -> None:
    edit(folder / "prepare.yaml", "[{name: held-out}]}", "[{name: held-out}], artifacts: [{name: raw-data}]}")
    assert [p.message for p in problems(folder)] == ["prepare.yaml needs artifact 'raw_data'"]
    edit(folder / "workflow.yaml", "outputs: {train_rows", "artifacts: {raw_dat: s3://b/k}\n    outputs: {train_rows")
    found = problems(folder)
    assert "no input artifact 'raw_dat'" in found[1].message
    assert found[1].hint == "did you mean 'raw_data'?"
    edit(folder / "workflow.yaml", "raw_dat:", "raw_data:")
    build_bundle(folder / "workflow.yaml")


def test_a_literal_that_is_none_of_a_parameters_values_is_refused_at_its_place(folder: Path) -> None:
    file = folder / "workflow.yaml"
    edit(folder / "prepare.yaml", "[{name: held-out}]", "[{name: held-out, enum: [fast, slow, 3]}]")
    build_bundle(file)  # what an expression gives is seen when the run is submitted
    edit(file, '"${{ inputs.rate }}"', "fats")
    (problem,) = problems(folder)
    assert problem.message == "parameter 'held_out' of prepare.yaml cannot be fats"
    assert (problem.line, problem.hint) == (8, "did you mean 'fast'?")
    edit(file, "fats", "3")
    build_bundle(file)
    edit(folder / "kfp" / "train.yaml", "NUMBER_INTEGER,", "NUMBER_INTEGER, literals: [1, 2],")
    edit(file, "${{ steps.prepare.outputs.train_rows }}", "7")
    assert [p.message for p in problems(folder)] == ["parameter 'rows' of kfp/train.yaml cannot be 7"]


def test_all_problems_of_definition_and_files_come_at_once(folder: Path) -> None:
    edit(folder / "workflow.yaml", "prepare.yaml", "prepar.yaml")
    edit(folder / "workflow.yaml", "outputs.loss }}", "outputs.los }}")
    edit(folder / "workflow.yaml", "${{ inputs.rate }}\n", "${{ inputs.rat }}\n")
    assert [p.line for p in problems(folder)] == [7, 13, 16]


@pytest.mark.parametrize(
    ("name", "message"),
    [("workflw.yaml", "there is no file"), ("kfp", "is a folder"), ("binary", "is not UTF-8"), ("huge.yaml", "a definition 262,144")],
)  # fmt: skip
def test_a_definition_that_cannot_be_read_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    (folder / "huge.yaml").write_text("x" * 300_000)
    with pytest.raises(BundleInvalid) as caught:
        build_bundle(folder / name)
    assert message in caught.value.message
    if name == "workflw.yaml":
        assert "did you mean 'workflow.yaml'?" in caught.value.hint


def test_files_that_are_large_together_are_refused(folder: Path) -> None:
    steps = ""
    for i in range(9):
        (folder / f"p{i}.yaml").write_text(PREPARE + "#" + "x" * 1_000_000)
        steps += f"  p{i}: {{argo: {{manifest: p{i}.yaml}}, parameters: {{held_out: 1}}}}\n"
    edit(folder / "workflow.yaml", "steps:\n", "steps:\n" + steps)
    assert "bytes together, 8,388,608 at most" in problems(folder)[0].message


def test_a_bundle_from_elsewhere_is_checked_as_strictly(folder: Path) -> None:
    bundle = build_bundle(folder / "workflow.yaml")
    without = bundle.model_copy(update={"files": {"prepare.yaml": PREPARE, "more.yaml": "x"}})
    found = validate_bundle(without)
    assert sorted(p.message for p in found) == [
        "no step names the bundle's file 'more.yaml'", "the bundle has no file 'kfp/train.yaml'",
    ]  # fmt: skip
    assert [p.line for p in found if "has no file" in p.message] == [11]
    swapped = bundle.model_copy(update={"files": {"prepare.yaml": TRAIN, "kfp/train.yaml": TRAIN}, "source": "a: ["})
    assert [(p.path, p.line) for p in validate_bundle(swapped)] == [("steps.prepare.argo.manifest", 0)]


def test_a_missing_file_is_named_beside_the_slips_of_a_definition_whose_shape_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "chain.yaml").write_text(DEFINITION.replace("parameters: {held_out", "paramters: {held_out"))
    with pytest.raises(DefinitionInvalid) as caught:
        build_bundle(tmp_path / "chain.yaml")
    said = [(p.line, p.message) for p in caught.value.problems]
    assert (7, "there is no file 'prepare.yaml'") in said
    assert (8, "unknown key 'paramters'") in said
    assert (11, "there is no file 'kfp/train.yaml'") in said
