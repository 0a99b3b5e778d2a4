"""Definitions in Python files: `meta compile`, and every command that takes a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from meta.dsl import kfp
from workflows.bundle import build_bundle
from workflows.dsl import compile_main
from workflows.dsl.files import read_flow
from workflows.errors import BundleInvalid
from workflows.python_files import PythonPipeline
from workflows.spec import load_definition

CHAIN = """\
from steps import NAME

from meta.dsl import MetaWorkflow, argo

flow = MetaWorkflow(NAME, description="Two steps")
rate = flow.input("rate", float, default=1)
prepare = flow.step("prepare", argo("step.yaml"), parameters={"rate": rate})
flow.step("train", argo("step.yaml"), needs=[prepare])
flow.output("rate", rate)
"""
STEP = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: step-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: rate, value: "1"}]}
  templates:
    - name: main
      container: {image: "busybox:1.36", command: [echo]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chain.py").write_text(CHAIN)
    (tmp_path / "steps.py").write_text('NAME = "chain"\n')
    (tmp_path / "step.yaml").write_text(STEP)
    monkeypatch.setattr(sys, "path", list(sys.path))  # what is loaded in this process puts its folder there
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("META_CONFIG", raising=False)
    return tmp_path


def test_compile_writes_yaml_that_says_how_it_was_made_and_check_tells_when_it_is_old(folder: Path) -> None:
    done = CliRunner().invoke(app, ["compile", "chain.py", "-o", "chain.yaml"])
    assert (done.exit_code, done.output) == (0, "chain.yaml written\n")
    text = (folder / "chain.yaml").read_text()
    assert text.startswith("# Made by `meta compile chain.py -o chain.yaml`")
    bundle = build_bundle(folder / "chain.yaml")
    assert bundle.definition == load_definition(text)
    assert bundle.digest == build_bundle(folder / "chain.py").digest
    (folder / "chain.yaml").write_text(text.replace("Two steps", "2 steps"))
    done = CliRunner().invoke(app, ["compile", "chain.py", "-o", "chain.yaml", "--check"])
    assert done.exit_code == 1
    assert "write it anew: meta compile chain.py -o chain.yaml" in done.output
    assert "2 steps" in (folder / "chain.yaml").read_text(), "--check writes nothing"


def test_a_problem_is_shown_with_the_line_of_python(folder: Path) -> None:
    (folder / "chain.py").write_text(CHAIN.replace('{"rate": rate}', '{"rte": rate}'))
    done = CliRunner().invoke(app, ["validate", "chain.py"])
    assert done.exit_code == 2
    assert "chain.py:7:1: step.yaml has no parameter 'rte' [steps.prepare.parameters.rte]" in done.output


def result(folder: Path, source: str, name: str = "") -> dict[str, object]:
    (folder / "chain.py").write_text(source)
    return compile_main.main(folder / "chain.py", name)


def test_one_of_several_definitions_is_named_after_a_colon(folder: Path) -> None:
    two = CHAIN + '\nother = MetaWorkflow("other")\nother.step("only", argo(template="t"))\nsame = other\n'
    assert result(folder, two)["error"] == "chain.py has 2 definitions"
    assert result(folder, two)["hint"] == "name one, as chain.py:flow; it has: flow, other, same"
    data = result(folder, two, "other")["data"]
    assert isinstance(data, dict)
    assert data["metadata"] == {"name": "other"}
    assert result(folder, two, "othr")["hint"] == "did you mean 'other'?"


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [
        ("x = 1\n", "chain.py has no MetaWorkflow", None),
        (CHAIN + "if rate > 1:\n    pass\n", "TypeError: 'inputs.rate > 1' has no value yet", 10),
        (CHAIN.replace("flow.output(", "flow.output((", 1), "SyntaxError: ", 9),
        (CHAIN + "raise SystemExit(3)\n", "SystemExit: 3", 10),
    ],
)
def test_what_fails_in_the_file_is_told_with_its_line(folder: Path, source: str, error: str, line: int | None) -> None:
    found = result(folder, source)
    assert str(found["error"]).startswith(error)
    assert found.get("line") == line


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(BundleInvalid, match=r"there is no file missing\.py"):
        read_flow(PythonPipeline("missing.py", ""))


KFP = """\
from kfp import dsl

from meta.dsl import MetaWorkflow, kfp


@dsl.component
def add(x: int, y: int) -> int:
    return x + y


@dsl.pipeline(name="adder")
def adder(x: int, y: int = 2) -> int:
    return add(x=x, y=y).output


flow = MetaWorkflow("sums")
total = flow.step("add", kfp(adder, cache=False), parameters={"x": 1})
flow.output("sum", total.outputs.output)
"""


@pytest.mark.prove
def test_a_pipeline_can_be_a_function_of_the_same_file(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "chain.py").write_text(KFP)
    bundle = build_bundle(folder / "below" / "chain.py")
    (source,) = [bundle.definition.steps["add"].kfp]
    assert source is not None
    assert (source.package, source.cache) == ("chain.py:adder", False)
    assert "name: adder" in bundle.files["chain.py:adder"]


class Pipeline:
    """What `@dsl.pipeline` makes of a function, as far as it is looked at."""

    @staticmethod
    def pipeline_func(x: int) -> int:
        return x

    def __call__(self) -> None: ...


def test_a_function_that_is_no_pipeline_or_stands_elsewhere_is_refused(tmp_path: Path) -> None:
    here = Path(__file__).parent
    assert kfp(Pipeline(), engine="west").below(here.parent) == {
        "package": "dsl/test_files.py:pipeline_func", "engine": "west",
    }  # fmt: skip
    with pytest.raises(ValueError, match="is not in the definition's folder"):
        kfp(Pipeline()).below(tmp_path)
    with pytest.raises(TypeError, match=r"decorate the function with @dsl\.pipeline"):
        kfp(load_definition)
