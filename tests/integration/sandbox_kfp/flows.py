"""Pipelines of containers and of control flow, in the KFP DSL. They follow those of `pipelines.py` in one module."""

from __future__ import annotations

SOURCE = """
from typing import List, Optional
from kfp.dsl import Artifact

@dsl.container_component
def write(text: str, times: int, note: dsl.OutputPath(str), made: Output[Dataset], also: str = ""):
    return dsl.ContainerSpec(
        image="alpine:3",
        command=["sh", "-ec", \'\'\'
            set -o pipefail
            [[ "$1" == *=* ]]
            echo "$1 $GREETING" > "$2"
            printf %s "$0" | tee "$3"
            echo "at $4"
        \'\'\'],
        args=[text, dsl.ConcatPlaceholder([text, "=", times]), made.path, note, made.uri,
              dsl.IfPresentPlaceholder(input_name="also", then=["--also", also], else_=["--nothing"])],
    )

@dsl.pipeline(name="writing")
def writing() -> NamedTuple("Out", [("read", str), ("note", str)]):
    written = write(text="a word", times=3).set_env_variable("GREETING", "hello")
    read = read_file(data=written.outputs["made"])
    return NamedTuple("Out", [("read", str), ("note", str)])(read.output, written.outputs["note"])

@dsl.container_component
def entrypoint(text: str):
    return dsl.ContainerSpec(image="example/greeter:1", args=[text])

@dsl.pipeline(name="entrypoints")
def entrypoints():
    entrypoint(text="from the table")

@dsl.container_component
def missing():
    return dsl.ContainerSpec(image="alpine:3", command=["no-such-program"], args=["x"])

@dsl.pipeline(name="missing-program")
def missing_program():
    missing()

@dsl.container_component
def installing():
    return dsl.ContainerSpec(image="alpine:3", command=["sh", "-c", "python3 -m pip install six"])

@dsl.pipeline(name="installs")
def installs():
    installing()

@dsl.pipeline(name="imports-elsewhere")
def imports_elsewhere():
    dsl.importer(artifact_uri="gs://bucket/x", artifact_class=Dataset)

@dsl.pipeline(name="imports-a-parameter")
def imports_a_parameter(uri: str = "https://example.org/x"):
    dsl.importer(artifact_uri=uri, artifact_class=Dataset)

@dsl.container_component
def hold_container(folder: str):
    return dsl.ContainerSpec(
        image="alpine:3",
        command=["sh", "-c", \'sleep 300 & echo $$ $! > "$0/c.part" && mv "$0/c.part" "$0/c.pids"; wait\', folder],
    )

@dsl.pipeline(name="holding-container")
def holding_container(folder: str):
    hold_container(folder=folder)

@dsl.container_component
def count_container(folder: str, counted: dsl.OutputPath(int)):
    return dsl.ContainerSpec(
        image="alpine:3", command=["sh", "-c", \'echo x >> "$0/count"; wc -l < "$0/count" > "$1"\', folder, counted]
    )

@dsl.pipeline(name="needing-container")
def needing_container(folder: str):
    counted = count_container(folder=folder).set_caching_options(False)
    need(folder=folder, counted=counted.output).set_caching_options(False)

@dsl.component(base_image=IMAGE)
def make(text: str, made: Output[Dataset]):
    with open(made.path, "w") as file:
        file.write(text)

@dsl.component(base_image=IMAGE)
def read_all(files: Input[List[Dataset]]) -> str:
    return " ".join(open(file.path).read() for file in files)

@dsl.component(base_image=IMAGE)
def total(numbers: List[int]) -> int:
    return sum(numbers)

@dsl.component(base_image=IMAGE)
def same(number: int) -> int:
    return number

@dsl.component(base_image=IMAGE)
def items() -> List[dict]:
    return [{"title": "a"}, {"title": "b"}]

@dsl.pipeline(name="choose")
def choose(kind: str) -> Dataset:
    with dsl.If(kind == "left"):
        left = make(text="left")
    with dsl.Elif(kind == "right"):
        right = make(text="right")
    with dsl.Else():
        other = make(text="other")
    return dsl.OneOf(left.outputs["made"], right.outputs["made"], other.outputs["made"])

@dsl.pipeline(name="flowing")
def flowing(kind: str = "right") -> NamedTuple("Out", [("chosen", str), ("all", str), ("sum", int)]):
    chosen = read_file(data=choose(kind=kind).output)
    with dsl.ParallelFor(items().output) as item:
        with dsl.ParallelFor([10, 20]) as number:
            made = make(text=item.title)
            counted = same(number=number)
    every = read_all(files=dsl.Collected(made.outputs["made"]))
    summed = total(numbers=dsl.Collected(counted.output))
    return NamedTuple("Out", [("chosen", str), ("all", str), ("sum", int)])(
        chosen.output, every.output, summed.output
    )

@dsl.pipeline(name="after-a-branch")
def after_a_branch():
    with dsl.If(same(number=1).output == 2, name="never"):
        greet(name="never")
    greet(name="not either")  # the test puts it after the branch, which the SDK does not let us

@dsl.component(base_image=IMAGE)
def meet(folder: str, me: str, other: str):
    import os, time
    open(f"{folder}/{me}", "w").close()
    until = time.monotonic() + 30
    while not os.path.exists(f"{folder}/{other}"):
        assert time.monotonic() < until, "nobody came"
        time.sleep(0.05)

@dsl.pipeline(name="meeting")
def meeting(folder: str):
    meet(folder=folder, me="left", other="right").set_caching_options(False)
    meet(folder=folder, me="right", other="left").set_caching_options(False)

@dsl.component(base_image=IMAGE)
def fail() -> str:
    raise ValueError("as planned")

@dsl.component(base_image=IMAGE)
def say(text: str = "a default", optional: Optional[str] = None) -> str:
    return f"{text} {optional}"

@dsl.component(base_image=IMAGE)
def last_word(status: dsl.PipelineTaskFinalStatus) -> str:
    assert "ending" in status.pipeline_job_resource_name
    return f"{status.pipeline_task_name} {status.state}"

@dsl.pipeline(name="ending")
def ending():
    with dsl.ExitHandler(last_word().set_caching_options(False), name="all"):
        say(text=fail().output)

@dsl.pipeline(name="ignoring")
def ignoring():
    failed = fail().set_caching_options(False)
    say(text=failed.output, optional="x").set_caching_options(False).ignore_upstream_failure()

@dsl.pipeline(name="inner")
def inner(given: str = "default", nothing: Optional[str] = None) -> str:
    return say(text=given, optional=nothing).output

@dsl.pipeline(name="nesting")
def nesting(nothing: Optional[str] = None) -> str:
    return inner(nothing=nothing).output

@dsl.component(base_image=IMAGE)
def inspect() -> dict:
    import os
    files = {}
    for folder in ("/secrets/here", "/config"):
        for name in os.listdir(folder):
            files[f"{os.path.basename(folder)}/{name}"] = open(f"{folder}/{name}").read()
    wanted = ("PASSWORD", "LEVEL", "POD", "TEAM")
    return {"files": files, "env": {name: os.environ.get(name) for name in wanted}}

@dsl.pipeline(name="inspecting")
def inspecting(secret: str = "login"):
    inspect().set_caching_options(False).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)

@dsl.container_component
def createpvc(access_modes: list, size: str, name: dsl.OutputPath(str), pvc_name_suffix: str = ""):
    return dsl.ContainerSpec(image="argostub/createpvc")

@dsl.container_component
def deletepvc(pvc_name: str):
    return dsl.ContainerSpec(image="argostub/deletepvc")

@dsl.component(base_image=IMAGE)
def put(folder: str) -> str:
    with open("/data/file.txt", "w") as file:
        file.write("in the volume")
    return f"{folder}/file.txt"

@dsl.component(base_image=IMAGE)
def take(path: str) -> str:
    assert open("/data/file.txt").read() == open(path).read()
    return open(path).read()

@dsl.pipeline(name="volumes")
def volumes():
    made = createpvc(access_modes=["ReadWriteOnce"], size="5Mi", pvc_name_suffix="-shared")
    written = put(folder="/data").set_caching_options(False).after(made)
    taken = take(path=written.output).set_caching_options(False)
    deletepvc(pvc_name=made.outputs["name"]).after(taken)

@dsl.component(base_image=IMAGE)
def swell() -> int:
    import time
    block = bytearray(b"x") * (600 * 1024 * 1024)
    time.sleep(20)
    return len(block)

@dsl.pipeline(name="swelling")
def swelling():
    swell().set_caching_options(False).set_memory_limit("300M")

@dsl.pipeline(name="late")
def late(folder: str):
    hold(folder=folder).set_caching_options(False)

@dsl.component(base_image=IMAGE)
def leave_note(workspace: str) -> str:
    with open(f"{workspace}/note", "w") as file:
        file.write("left")
    return "note"

@dsl.component(base_image=IMAGE)
def find_note(workspace: str, name: str) -> str:
    return open(f"{workspace}/{name}").read()

@dsl.pipeline(
    name="workspaces", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")),
)
def workspaces():
    left = leave_note(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER).set_caching_options(False)
    find_note(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER, name=left.output).set_caching_options(False)

@dsl.component(base_image=IMAGE)
def large_parameter() -> str:
    return "x" * 1_100_000

@dsl.component(base_image=IMAGE)
def large_artifact(made: Output[Dataset]):
    with open(made.path, "wb") as file:
        file.truncate(2 * 1024 * 1024)

@dsl.pipeline(name="large-outputs")
def large_outputs():
    large_parameter().set_caching_options(False)

@dsl.pipeline(name="large-artifacts")
def large_artifacts():
    large_artifact().set_caching_options(False)

@dsl.component(base_image=IMAGE)
def second_time(folder: str) -> int:
    import os
    tries = len(os.listdir(folder))
    open(f"{folder}/{tries}", "w").close()
    assert tries > 0, "not the first time"
    return tries

@dsl.pipeline(name="retrying")
def retrying(folder: str):
    second_time(folder=folder).set_caching_options(False).set_retry(num_retries=3, backoff_duration="0s")
"""
