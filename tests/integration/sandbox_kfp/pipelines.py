"""The pipelines of these tests, in the KFP DSL, compiled when first asked for."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUntypedFunctionDecorator=false, reportMissingTypeArgument=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportReturnType=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportUnusedExpression=false
# (the DSL turns functions into something else than their signatures say)

from __future__ import annotations

import functools
import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any, cast

import yaml

from tests.integration.sandbox_kfp import flows

SOURCE = """
from typing import List, NamedTuple
from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

IMAGE = "python:3.11"

@dsl.component(base_image=IMAGE)
def train(data: Input[Dataset], rate: float, model: Output[Model], metrics: Output[Metrics]) -> int:
    text = open(data.path).read()
    with open(model.path, "w") as file:
        file.write(f"{text} at {rate}")
    model.metadata["framework"] = "none"
    metrics.log_metric("accuracy", 0.97)
    return len(text)

@dsl.component(base_image=IMAGE)
def evaluate(model: Input[Model], length: int) -> NamedTuple("Evaluated", [("accuracy", float), ("uri", str)]):
    text = open(model.path).read()
    return (float(len(text) > length), model.uri)

@dsl.pipeline(name="train-and-evaluate")
def train_and_evaluate(dataset: str, rate: float = 0.5) -> NamedTuple("Out", [("accuracy", float), ("model", Model)]):
    imported = dsl.importer(artifact_uri=dataset, artifact_class=Dataset)
    trained = train(data=imported.output, rate=rate)
    evaluated = evaluate(model=trained.outputs["model"], length=trained.outputs["Output"])
    out = NamedTuple("Out", [("accuracy", float), ("model", Model)])
    return out(evaluated.outputs["accuracy"], trained.outputs["model"])

@dsl.component(base_image=IMAGE)
def make_folder(text: str, folder: Output[Dataset]):
    import os
    os.makedirs(folder.path + "/deep")
    for name in ("a.txt", "deep/b.txt"):
        with open(folder.path + "/" + name, "w") as file:
            file.write(text + " " + name)

@dsl.component(base_image=IMAGE)
def read_folder(folder: Input[Dataset]) -> str:
    return open(folder.path + "/deep/b.txt").read()

@dsl.pipeline(name="folders")
def folders(text: str):
    read_folder(folder=make_folder(text=text).output)

@dsl.component(base_image=IMAGE)
def write_elsewhere(data: Output[Dataset]):
    import tempfile
    data.custom_path = tempfile.mkdtemp() + "/elsewhere.txt"
    with open(data.path, "w") as file:
        file.write("from elsewhere")

@dsl.component(base_image=IMAGE)
def read_file(data: Input[Dataset]) -> str:
    return open(data.path).read()

@dsl.pipeline(name="custom-paths")
def custom_paths():
    read_file(data=write_elsewhere().output)

@dsl.component(base_image=IMAGE)
def look() -> dict:
    import os, sys
    return {"env": dict(os.environ), "prefix": sys.prefix, "cwd": os.getcwd()}

@dsl.pipeline(name="look-around")
def look_around():
    look().set_caching_options(False)

@dsl.component(base_image=IMAGE)
def talk() -> str:
    print("a word")
    return "x" * 300_000

@dsl.pipeline(name="talking")
def talking():
    talk().set_caching_options(False)

@dsl.component(base_image=IMAGE)
def hold(folder: str, name: str = "hold"):
    import os, subprocess, time
    child = subprocess.Popen(["sleep", "300"])
    with open(f"{folder}/{name}.part", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(f"{folder}/{name}.part", f"{folder}/{name}.pids")
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.05)
    child.kill()

@dsl.pipeline(name="holding")
def holding(folder: str):
    hold(folder=folder).set_caching_options(False)

@dsl.component(base_image=IMAGE)
def count(folder: str) -> int:
    with open(folder + "/count", "a") as file:
        file.write("x")
    return len(open(folder + "/count").read())

@dsl.component(base_image=IMAGE)
def need(folder: str, counted: int):
    import os
    if not os.path.exists(folder + "/repaired"):
        raise ValueError(f"not repaired, counted {counted}")

@dsl.pipeline(name="needing")
def needing(folder: str):
    need(folder=folder, counted=count(folder=folder).set_caching_options(False).output).set_caching_options(False)

@dsl.component(base_image=IMAGE)
def measure(value: float) -> NamedTuple("Measured", [("score", float), ("names", list)]):
    return (value, ["a", "b"])

@dsl.component(base_image=IMAGE)
def greet(name: str) -> str:
    return f"hello {name}"

@dsl.pipeline(name="branches-and-loops")
def branches_and_loops(value: float):
    measured = measure(value=value)
    with dsl.If(measured.outputs["score"] > 0.5, name="high"):
        greet(name="high")
    with dsl.If(measured.outputs["score"] <= 0.5, name="low"):
        greet(name="low")
    with dsl.ParallelFor(measured.outputs["names"]) as name:
        greet(name=name)

@dsl.component(base_image=IMAGE, packages_to_install=["six==1.17.0"])
def use_six() -> str:
    import six
    return six.__version__

@dsl.pipeline(name="packages")
def packages():
    use_six().set_caching_options(False)

@dsl.component(base_image="example/tools:1")
def use_tools() -> str:
    import sys
    return sys.prefix

@dsl.component(base_image=IMAGE)
def use_plain() -> str:
    import sys
    return sys.prefix

@dsl.pipeline(name="two-images")
def two_images():
    use_tools().set_caching_options(False)
    use_plain().set_caching_options(False)

@dsl.pipeline(name="collecting")
def collecting(names: List[str], loud: bool) -> NamedTuple("Out", [("greetings", List[str]), ("chosen", str)]):
    with dsl.ParallelFor(names) as name:
        greeted = greet(name=name)
    with dsl.If(loud == True):
        high = greet(name="HIGH")
    with dsl.Else():
        low = greet(name="low")
    out = NamedTuple("Out", [("greetings", List[str]), ("chosen", str)])
    return out(greetings=dsl.Collected(greeted.output), chosen=dsl.OneOf(high.output, low.output))

@dsl.container_component
def shell():
    return dsl.ContainerSpec(image="alpine:3", command=["echo"], args=["hello"])

@dsl.pipeline(name="containers")
def containers():
    shell()
"""


@functools.cache
def _module() -> Any:
    folder = Path(tempfile.mkdtemp(prefix="kfp-tests-"))
    file = folder / "pipelines_of_tests.py"  # components keep their source, so they need a file
    file.write_text(SOURCE + flows.SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pipelines_of_tests", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp's own deprecations
        spec.loader.exec_module(module)
    return module


def function(name: str) -> Any:
    """A pipeline as the function that kfp made of it."""
    return getattr(_module(), name)


@functools.cache
def _text(name: str) -> str:
    from kfp import compiler

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(getattr(_module(), name), str(path))
        return path.read_text(encoding="utf-8")


def package(name: str, folder: Path) -> Path:
    """A compiled pipeline as a file."""
    path = folder / f"{name}.yaml"
    path.write_text(_text(name), encoding="utf-8")
    return path


def spec(name: str) -> dict[str, Any]:
    """A compiled pipeline as a client sends it."""
    first, *rest = cast("list[dict[str, Any]]", list(yaml.safe_load_all(_text(name))))
    return {"pipeline_spec": first, "platform_spec": rest[0]} if rest else first
