"""A step may name a Python file: its pipeline is compiled in a process of its own when the bundle is built."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from workflows import compiling
from workflows.bundle import Bundle, build_bundle, validate_bundle
from workflows.compiling import compile_pipeline
from workflows.errors import BundleInvalid, DefinitionInvalid
from workflows.python_files import PythonPipeline, python_pipeline
from workflows.spec.models import Metadata, MetaWorkflow
from workflows.spec.sources import KfpSource
from workflows.spec.steps import Step

ONE = dedent("""\
    from kfp import dsl


    @dsl.component
    def add(x: int, y: int) -> int:
        return x + y


    @dsl.pipeline(name="adder")
    def adder(x: int, y: int = 2) -> int:
        return add(x=x, y=y).output
    """)
TWO = ONE + dedent("""\


    @dsl.pipeline(name="twice")
    def twice(x: int) -> int:
        return adder(x=adder(x=x).output).output
    """)
DEFINITION = dedent("""\
    apiVersion: meta/v1
    kind: MetaWorkflow
    metadata: {name: chain}
    steps:
      train:
        kfp: {package: PACKAGE}
        parameters: {x: 1}
    outputs: {sum: "${{ steps.train.outputs.output }}"}
    """)


def chain(folder: Path, package: str, source: str, definition: str = DEFINITION) -> Path:
    (folder / package.partition(":")[0]).write_text(source)
    file = folder / "chain.yaml"
    file.write_text(definition.replace("PACKAGE", package))
    return file


def refusal(file: Path) -> tuple[str, str, int]:
    with pytest.raises(DefinitionInvalid) as caught:
        build_bundle(file)
    (problem,) = caught.value.problems
    return problem.message, problem.hint, problem.line


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("pipelines.py", PythonPipeline("pipelines.py", "")),
        ("kfp/pipelines.py:train", PythonPipeline("kfp/pipelines.py", "train")),
        ("train.yaml", None),
        ("pipelines.py:not a name", None),
        ("pipelines.pyc", None),
    ],
)
def test_a_package_names_a_compiled_file_or_a_python_file_and_a_function(
    package: str, expected: PythonPipeline | None
) -> None:
    assert python_pipeline(package) == expected


def test_the_bundle_holds_the_compiled_pipeline_and_is_the_same_each_time(tmp_path: Path) -> None:
    file = chain(tmp_path, "pipelines.py", ONE)
    bundle = build_bundle(file)
    text = bundle.files["pipelines.py"]
    assert "pipelineInfo:" in text
    assert "name: adder" in text
    assert "@dsl.pipeline" not in text
    assert build_bundle(file).digest == bundle.digest
    assert validate_bundle(Bundle.model_validate_json(bundle.model_dump_json())) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain.yaml", "pipelines.py"], "nothing is left behind"
    file = chain(tmp_path, "pipelines.py", ONE.replace("x + y", "x - y"))
    assert build_bundle(file).digest != bundle.digest


def test_one_of_several_pipelines_is_named_after_a_colon(tmp_path: Path) -> None:
    bundle = build_bundle(chain(tmp_path, "pipelines.py:twice", TWO))
    assert "name: twice" in bundle.files["pipelines.py:twice"]


def test_several_pipelines_and_none_named_lists_them(tmp_path: Path) -> None:
    message, hint, line = refusal(chain(tmp_path, "pipelines.py", TWO))
    assert message == "pipelines.py has 2 pipelines"
    assert hint == "name one, as pipelines.py:adder; it has: adder, twice"
    assert line == 6


def test_a_file_without_a_pipeline_or_without_the_named_one_is_refused(tmp_path: Path) -> None:
    assert refusal(chain(tmp_path, "pipelines.py", "x = 1\n"))[0] == "pipelines.py has no @dsl.pipeline"
    message, hint, _ = refusal(chain(tmp_path, "pipelines.py:twise", TWO))
    assert message == "pipelines.py has no @dsl.pipeline 'twise'"
    assert hint == "did you mean 'twice'?"


def test_a_pipeline_that_is_imported_from_beside_it_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "common.py").write_text(ONE)
    mine = "from common import adder\nfrom kfp import dsl\n\n\n@dsl.pipeline\ndef mine(x: int) -> int:\n"
    mine += "    return adder(x=x).output\n"
    assert "name: mine" in build_bundle(chain(tmp_path, "pipelines.py", mine)).files["pipelines.py"]


def test_a_users_module_may_be_named_like_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "values.py").write_text("NAME = 'theirs'\n")
    named = ONE.replace("from kfp", "from values import NAME\nfrom kfp").replace('name="adder"', "name=NAME")
    assert "name: theirs" in build_bundle(chain(tmp_path, "pipelines.py", named)).files["pipelines.py"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (ONE.replace("add(x=x, y=y)", "ad(x=x, y=y)"), "pipelines.py:11: NameError: name 'ad' is not defined"),
        (ONE.replace("y=y).output", "z=y).output"), "pipelines.py:11: TypeError: "),
        (ONE.replace("def adder(", "def adder((", 1), "pipelines.py:10: SyntaxError: "),
        (ONE + "import no_such_module\n", "pipelines.py:12: ModuleNotFoundError: No module named 'no_such_module'"),
        (ONE + "raise SystemExit(3)\n", "pipelines.py:12: SystemExit: 3"),
        (ONE + "import helper\n", "helper.py:1: ZeroDivisionError"),
        (ONE + "import os; print('good bye', flush=True); os._exit(7)\n", "the process that compiles it ended with 7"),
    ],
)  # fmt: skip
def test_what_fails_in_the_file_is_told_with_its_line(tmp_path: Path, wrong: str, words: str) -> None:
    (tmp_path / "helper.py").write_text("1 / 0\n")
    message, _, line = refusal(chain(tmp_path, "pipelines.py", wrong))
    assert words in message
    assert line == 6


def test_a_file_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "TIMEOUT_S", 0.5)
    (tmp_path / "pipelines.py").write_text("while True:\n    pass\n")
    with pytest.raises(BundleInvalid, match="still not compiled"):
        compile_pipeline(tmp_path, PythonPipeline("pipelines.py", ""))


def test_a_users_code_does_not_run_in_this_process(tmp_path: Path) -> None:
    source = ONE + f"\nimport os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    build_bundle(chain(tmp_path, "pipelines.py", source))
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_what_the_compiled_pipeline_declares_is_checked_as_any_others(tmp_path: Path) -> None:
    message, hint, line = refusal(chain(tmp_path, "pipelines.py", ONE, DEFINITION.replace("{x: 1}", "{x: 1, z: 2}")))
    assert (message, line) == ("pipelines.py has no parameter 'z'", 7)
    assert "x" in hint
    message, _, _ = refusal(chain(tmp_path, "pipelines.py", ONE, DEFINITION.replace("{x: 1}", "{x: many}")))
    assert message == "parameter 'x' of pipelines.py takes an integer, this is a string"


@pytest.mark.parametrize("package", ["missing.py", "missing.py:train", "../outside.py"])
def test_a_python_file_must_be_in_the_definitions_folder(tmp_path: Path, package: str) -> None:
    folder = tmp_path / "chain"
    folder.mkdir()
    (tmp_path / "outside.py").write_text(ONE)
    (folder / "chain.yaml").write_text(DEFINITION.replace("PACKAGE", package))
    message, _, _ = refusal(folder / "chain.yaml")
    assert "there is no file" in message or "outside the definition's folder" in message


def test_the_service_compiles_nothing_and_refuses_python() -> None:
    definition = MetaWorkflow(
        api_version="meta/v1",
        kind="MetaWorkflow",
        metadata=Metadata(name="chain"),
        steps={"train": Step(kfp=KfpSource(package="pipelines.py"))},
    )
    (problem,) = validate_bundle(Bundle(definition=definition, files={"pipelines.py": ONE}))
    assert "neither an Argo Workflow nor a compiled KFP pipeline" in problem.message or "no YAML" in problem.message
