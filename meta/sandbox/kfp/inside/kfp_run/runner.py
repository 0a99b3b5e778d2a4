"""One run: the hooks in kfp.local, and what happens around each task."""

# pyright: basic
# (kfp has no types, and its private parts are what the hooks take hold of)

import contextlib
import inspect
import json
import os
import shutil
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp import dsl, local
from kfp.local import (
    cache,
    executor_input_utils,
    io,
    logging_utils,
    placeholder_utils,
    status,
    subprocess_task_handler,
    task_dispatcher,
    utils,
)
from kfp.local.orchestrator import orchestrator_utils, task_executor
from kfp.pipeline_spec import pipeline_spec_pb2

from . import components
from .channel import Channel
from .inputs import constant, whole
from .orchestrator import Orchestrator, Outcome, Place
from .pod import Pod, Pods
from .text import plain
from .values import artifacts_of, parameters_of

LARGEST_PARAMETERS = 2**20  # bytes of a task's output parameters as JSON; what is larger belongs into an artifact


def check_parameters(outputs: dict[str, Any]) -> None:
    """Refuse output parameters that would not fit into the metadata of a real server either."""
    size = len(json.dumps(parameters_of(outputs)))
    if size > LARGEST_PARAMETERS:
        raise RuntimeError(f"the output parameters have {size} bytes, and the sandbox takes {LARGEST_PARAMETERS}")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


class Scope(threading.local):
    """What the current thread is doing. A task runs in one thread from its start to its end."""

    place: Place
    pod: Pod
    arguments: dict[str, Any]
    plain_container: bool = False  # not the official executor for Python functions
    dispatched: bool = False
    cache_key: str = ""
    error: str = ""
    output_file: Path = Path()  # what the executor writes about the component's outputs
    executor_input: Any = None


class Runner:
    """One run: the hooks, and what they share."""

    def __init__(self, folder: Path, job: dict[str, Any], channel: Channel) -> None:
        self.folder = folder
        self.job = job
        self.channel = channel
        self.scope = Scope()
        self.failures: list[str] = []
        self.local_runner: Any = local.SubprocessRunner(use_venv=False)
        self.mount = folder / "s3"
        self.slots = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))  # components at once
        self.components: Any = {}
        self.executors: dict[str, Any] = {}
        self.pods = Pods(job, folder)
        self.volume_works = {
            "argostub/createpvc": self.pods.create_volume,
            "argostub/deletepvc": self.pods.delete_volume,
        }

    # -- the whole run

    def run(self) -> None:
        local.init(
            self.local_runner,
            pipeline_root=str(self.folder / "local"),
            workspace_root=str(self.folder / "workspace"),
            raise_on_error=True,
            enable_caching=True,
            cache_root=self.job["cache_root"],
        )
        ir: Any = pipeline_spec_pb2
        spec = json_format.ParseDict(self.job["spec"], ir.PipelineSpec())
        self.components = dict(spec.components.items())
        executors = spec.deployment_spec["executors"] if "executors" in spec.deployment_spec else {}
        self.executors = {label: utils.struct_to_executor_spec(one) for label, one in executors.items()}
        for label, command in self.job["commands"].items():
            self.executors[label].container.command.extend(command)
        self.install_hooks()
        facts = self.job["facts"] | {dsl.WORKSPACE_PATH_PLACEHOLDER: str(self.folder / "workspace")}
        orchestrator = Orchestrator(spec, self.channel, self.execute, facts, self.failures)
        try:
            state = orchestrator.run(self.job["parameters"])
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.failures.append(plain(str(error)))
            state = "FAILED"
        failures = "" if state == "SUCCEEDED" else "; ".join(self.failures)
        self.channel.tell("finished", state=state, error=failures)

    def install_hooks(self) -> None:
        self.hook(orchestrator_utils.OrchestratorUtils, "make_task_arguments", lambda _: self.arguments_now)
        self.hook(task_dispatcher, "run_single_task_implementation", self.around_dispatch)
        self.hook(executor_input_utils, "construct_executor_input", self.around_executor_input)
        self.hook(executor_input_utils, "executor_input_to_dict", self.around_executor_input_dict)
        self.hook(placeholder_utils, "convert_placeholder_parts_to_path", self.around_placeholder_path)
        self.hook(cache.LocalCache, "compute_key", self.around_compute_key)
        self.hook(subprocess_task_handler, "environment", lambda _: self.environment)
        self.hook(subprocess_task_handler, "run_local_subprocess", lambda _: self.run_component)
        self.hook(subprocess_task_handler, "replace_python_executable", self.around_python)
        for check in ("image", "not_container_component", "not_containerized_python_component"):
            # the server has looked already
            self.hook(subprocess_task_handler.SubprocessTaskHandler, f"validate_{check}", lambda _: lambda *_: None)
        for decoration in ("local_logger_context", "indented_print"):  # not made for more than one thread
            self.hook(logging_utils, decoration, lambda _: contextlib.nullcontext)

    @staticmethod
    def hook(owner: Any, name: str, around: Any) -> None:
        official = getattr(owner, name, None)
        if official is None:
            raise RuntimeError(
                f"kfp.local of kfp {sys.modules['kfp'].__version__} has no {owner.__name__}.{name}: "
                "the run's environment needs the kfp of the sandbox server"
            )
        setattr(owner, name, around(official))

    # -- tasks

    def execute(self, place: Place, arguments: dict[str, Any], error: str) -> Outcome:
        """Run a container or an importer with kfp.local; see `Orchestrator`."""
        kept = self.job["finished"].get(place.path)
        if kept is not None:  # a retry of the run: what had succeeded stays
            return "SUCCEEDED", cache.LocalCache._deserialize_outputs(kept)
        executor = self.executors[place.component.executor_label]
        scope = self.scope
        scope.place, scope.arguments = place, arguments
        scope.dispatched, scope.cache_key, scope.error = False, "", error
        scope.plain_container = not components.is_python(executor.container)
        self.channel.tell(
            "task_started",
            path=place.path, parent=place.parent, task=place.name, iteration=place.iteration,
            display_name=place.task.task_info.name, component=place.task.component_ref.name,
            kind=executor.WhichOneof("spec"), image=executor.container.image,
            inputs=parameters_of(arguments), artifacts=artifacts_of(arguments),
        )  # fmt: skip
        outputs: dict[str, Any] = {}
        outcome = status.Status.FAILURE
        if not error:
            try:
                scope.pod = self.pods.make(
                    place.component.executor_label, place.path, place.dag, executor.container.resources, arguments
                )
                volume_work = self.volume_works.get(executor.container.image)
                if volume_work is not None:
                    return self.report(place, volume_work(arguments), True)
                outputs, outcome = task_executor.execute_single_task(
                    task_name=place.name, task_spec=place.task,
                    pipeline_resource_name=self.job["facts"][components.RUN_NAME],
                    components=self.components, executors=self.executors, io_store=io.IOStore(),
                    pipeline_root=str(self.folder / "local"),
                    runner=self.local_runner,
                    unique_pipeline_id=self.job["facts"][components.RUN_ID], fail_stack=[],
                )  # fmt: skip
            except Exception as problem:
                traceback.print_exc(file=sys.stderr)
                scope.error = str(problem)
        return self.report(place, outputs, outcome == status.Status.SUCCESS)

    def report(self, place: Place, outputs: dict[str, Any], succeeded: bool) -> Outcome:
        scope = self.scope
        if not succeeded:
            error = scope.error or "the component failed and printed nothing"
            self.failures.append(f"task {place.name} failed: {error}")
            self.channel.tell("task_finished", path=place.path, state="FAILED", error=error, cache_key=scope.cache_key)
            return "FAILED", {}
        cached = bool(scope.cache_key) and not scope.dispatched
        self.channel.tell(
            "task_finished",
            path=place.path, state="CACHED" if cached else "SUCCEEDED", error="", cache_key=scope.cache_key,
            outputs=parameters_of(outputs), artifacts=artifacts_of(outputs),
            kept=cache.LocalCache._serialize_outputs(outputs),
        )  # fmt: skip
        return "SUCCEEDED", outputs

    def arguments_now(self, *_: Any, **__: Any) -> dict[str, Any]:
        return self.scope.arguments

    def around_compute_key(self, official: Any) -> Any:
        """The environment does not count: the real server's cache does not compare it (`GenerateCacheKey`)."""
        signature = inspect.signature(official)

        def compute_key(*args: Any, **kwargs: Any) -> str:
            given = signature.bind(*args, **kwargs)
            given.arguments.pop("env_vars", None)
            self.scope.cache_key = official(*given.args, **given.kwargs)
            return self.scope.cache_key

        return compute_key

    def around_dispatch(self, official: Any) -> Any:
        def run_single_task_implementation(*args: Any, **kwargs: Any) -> Any:
            self.scope.dispatched = True
            started = int(time.time())
            try:
                outputs, outcome = official(*args, **kwargs)
                if outcome == status.Status.SUCCESS:
                    check_parameters(outputs)
                    self.publish(outputs)
            except Exception as error:
                self.scope.error = str(error)
                outputs, outcome = {}, status.Status.FAILURE
            self.tell_attempt(started, outcome == status.Status.SUCCESS)
            types = kwargs["component_spec"].output_definitions.parameters
            for name in types:  # numbers inside lists and structs
                if name in outputs and not isinstance(outputs[name], float):
                    outputs[name] = whole(outputs[name])
            return outputs, outcome

        return run_single_task_implementation

    def tell_attempt(self, started: int, succeeded: bool) -> None:
        if self.scope.place.task.retry_policy.max_retry_count > 0:
            self.channel.tell(
                "task_attempt",
                path=self.scope.place.path, state="SUCCEEDED" if succeeded else "FAILED",
                error="" if succeeded else self.scope.error, started_at=started, finished_at=int(time.time()),
            )  # fmt: skip

    # -- artifacts

    def path_of(self, uri: str) -> Path:
        return self.mount / uri.removeprefix("s3://")

    def around_executor_input(self, official: Any) -> Any:
        def construct_executor_input(*args: Any, **kwargs: Any) -> Any:
            made = official(*args, **kwargs)
            for name in [key for key, value in made.inputs.parameter_values.items() if constant(value) is None]:
                del made.inputs.parameter_values[name]  # kfp.local puts a null where the launcher puts nothing
            for name, artifacts in made.inputs.artifacts.items():
                self.stage(name, [artifact.uri for artifact in artifacts.artifacts])
            # a new folder for each attempt, as the driver makes one
            root = f"{self.job['pipeline_root']}/{self.scope.place.name}/{uuid.uuid4()}"
            for name, artifacts in made.outputs.artifacts.items():
                for artifact in artifacts.artifacts:
                    artifact.uri = f"{root}/{name}"
            self.scope.output_file = self.path_of(root) / "executor_output.json"
            self.scope.output_file.parent.mkdir(parents=True, exist_ok=True)
            made.outputs.output_file = str(self.scope.output_file)
            for name, parameter in made.outputs.parameters.items():
                parameter.output_file = str(self.scope.output_file.parent / "parameters" / name)
            if made.outputs.parameters:
                (self.scope.output_file.parent / "parameters").mkdir()
            self.scope.executor_input = made
            return made

        return construct_executor_input

    def around_executor_input_dict(self, official: Any) -> Any:
        def executor_input_to_dict(*args: Any, **kwargs: Any) -> Any:
            made = official(*args, **kwargs)
            inputs = made.get("inputs", {})
            inputs |= {"parameterValues": whole(inputs["parameterValues"])} if "parameterValues" in inputs else {}
            if self.scope.plain_container:  # for its placeholders; the official executor knows the way by itself
                for side in (inputs, made.get("outputs", {})):
                    for artifacts in side.get("artifacts", {}).values():
                        for artifact in artifacts["artifacts"]:
                            artifact["path"] = str(self.path_of(artifact["uri"]))
            return made

        return executor_input_to_dict

    def around_placeholder_path(self, official: Any) -> Any:
        def convert_placeholder_parts_to_path(parts: list[str]) -> list[Any]:
            """`.path` is a path and not a URI, and a list of artifacts without more is the whole list."""
            if parts[1:2] == ["artifacts"] and len(parts) == 3:
                return [*parts, "artifacts"]
            wanted = parts[-1]
            found = official(parts)
            return [*found[:-1], "path"] if found[1:2] == ["artifacts"] and wanted == "path" else found

        return convert_placeholder_parts_to_path

    def stage(self, name: str, uris: list[str]) -> None:
        missing = [uri for uri in uris if not self.path_of(uri).exists()]
        if missing:
            self.channel.ask("stage", task=self.scope.place.name, artifact=name, uris=missing)

    def publish(self, outputs: dict[str, Any]) -> None:
        self.collect_custom_paths()
        uris = [
            artifact.uri
            for value in outputs.values()
            for artifact in (value if isinstance(value, list) else [value])
            if isinstance(artifact, dsl.Artifact) and self.path_of(artifact.uri).exists()
        ]
        size = sum(size_of(self.path_of(uri)) for uri in uris)
        if size > self.job["max_artifact_bytes"]:
            limit = self.job["max_artifact_bytes"]
            raise RuntimeError(
                f"the output artifacts have {size} bytes, and the sandbox takes {limit} (--artifact-limit)"
            )
        if uris:
            self.channel.ask("publish", task=self.scope.place.name, uris=uris)

    def collect_custom_paths(self) -> None:
        """Bring outputs that the component wrote elsewhere to where their URIs say; kfp.local forgets such paths."""
        if not self.scope.output_file.exists():
            return
        said = json.loads(self.scope.output_file.read_text(encoding="utf-8"))
        for artifacts in said.get("artifacts", {}).values():
            for artifact in artifacts["artifacts"]:
                source, target = artifact.get("custom_path"), self.path_of(artifact["uri"])
                if source and Path(source).exists() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if Path(source).is_dir():
                        shutil.copytree(source, target)
                    else:
                        shutil.copyfile(source, target)

    # -- processes

    @contextlib.contextmanager
    def environment(self, *_: Any, **__: Any) -> Any:
        yield self.job["pythons"].get(self.scope.place.component.executor_label, sys.executable)

    def around_python(self, official: Any) -> Any:
        def replace_python_executable(full_command: list[str], new_executable: str) -> list[str]:
            return full_command if self.scope.plain_container else official(full_command, new_executable)

        return replace_python_executable

    def run_component(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run a component; the last lines of its output are the task's error message if it fails."""
        scope = self.scope
        command = full_command if scope.plain_container else components.with_our_executor(full_command)
        python = Path(self.job["pythons"].get(scope.place.component.executor_label, sys.executable))
        env = components.environment_of(python, (env_vars or {}) | scope.pod.env, self.folder)
        if not scope.plain_container:
            env["META_SANDBOX_S3_MOUNT"] = str(self.mount)
        log = self.folder / "logs" / f"{scope.place.path.replace('/', '.')}.log"
        work = self.folder / "work" / f"{scope.place.path.replace('/', '.')}"
        work.mkdir(parents=True, exist_ok=True)
        command = [scope.pod.rewrite(part) for part in command]
        with self.slots:
            code, scope.error = components.run(command, env, scope.pod, work=work, log=log, guard=self.job["guard"])
        if code == 0 and scope.plain_container and not scope.output_file.exists():
            self.write_output_file()
        return code

    def write_output_file(self) -> None:
        """What the official executor writes about a Python component's artifacts, for a container."""
        artifacts = {
            name: {"artifacts": [{"name": one.name, "uri": one.uri, "metadata": {}} for one in made.artifacts]}
            for name, made in self.scope.executor_input.outputs.artifacts.items()
        }
        self.scope.output_file.write_text(json.dumps({"artifacts": artifacts}), encoding="utf-8")
