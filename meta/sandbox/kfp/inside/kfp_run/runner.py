"""The hooks in kfp.local, and the run."""

# pyright: basic
# (kfp has no types, and its private parts are what the hooks take hold of)

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
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
    pipeline_orchestrator,
    status,
    subprocess_task_handler,
    task_dispatcher,
)
from kfp.local.orchestrator import dag_orchestrator, enhanced_dag_orchestrator, orchestrator_utils, task_executor
from kfp.pipeline_spec import pipeline_spec_pb2

from .channel import Channel
from .text import last_words, plain, without_pip_install
from .values import artifacts_of, join, parameters_of

LOG_TAIL_LINES = 200
ITERATION = re.compile(r"^(?P<loop>.+)-iteration-(?P<index>\d+)$")
COMPONENT_MAIN = Path(__file__).with_name("component_main.py")


class Scope(threading.local):
    """What the current thread is doing. A task runs in one thread from its start to its end."""

    dag: str = ""  # the DAG that is about to open its store
    task: str = ""
    name: str = ""  # the task's name, without an iteration's number
    python: str = sys.executable
    dispatched: bool = False
    cache_key: str = ""
    error: str = ""
    output_file: Path = Path()  # what the executor writes about the component's outputs


class Runner:
    """One run: the hooks, and what they share."""

    def __init__(self, folder: Path, job: dict[str, Any], channel: Channel) -> None:
        self.folder = folder
        self.job = job
        self.channel = channel
        self.scope = Scope()
        self.tasks: dict[str, Any] = {}  # the tasks of each DAG, as specified
        self.seen: dict[str, set[str]] = {}  # the tasks of each DAG that were started
        self.loops: set[str] = set()
        self.closed: set[str] = set()
        self.lock = threading.Lock()
        self.failures: list[str] = []
        self.mount = folder / "s3"
        self.components: Any = {}

    # -- the whole run

    def run(self) -> None:
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(self.folder / "local"),
            workspace_root=str(self.folder / "workspace"),
            raise_on_error=True,
            enable_caching=True,
            cache_root=self.job["cache_root"],
        )
        ir: Any = pipeline_spec_pb2
        spec = json_format.ParseDict(self.job["spec"], ir.PipelineSpec())
        self.components = dict(spec.components.items())
        self.install_hooks()
        self.scope.dag = "root"
        self.channel.tell(
            "dag_started", path="root", parent="", task="", component="", inputs=self.job["parameters"], display_name=""
        )
        try:
            pipeline_orchestrator.run_local_pipeline(spec, self.job["parameters"])
        except Exception as error:
            self.channel.tell("finished", state="FAILED", error="; ".join(self.failures) or plain(str(error)))
            traceback.print_exc(file=sys.stderr)
        else:
            self.channel.tell("finished", state="SUCCEEDED", error="")

    def install_hooks(self) -> None:
        self.hook(io, "IOStore", self.make_store_class)
        self.hook(dag_orchestrator, "run_dag", self.around_dag)
        self.hook(enhanced_dag_orchestrator, "run_enhanced_dag", self.around_dag)
        self.hook(enhanced_dag_orchestrator, "execute_task", self.around_task)
        self.hook(enhanced_dag_orchestrator.ConditionEvaluator, "evaluate_condition", lambda _: self.condition_holds)
        self.hook(task_executor, "execute_single_task", self.around_single_task)
        self.hook(task_dispatcher, "run_single_task_implementation", self.around_dispatch)
        self.hook(executor_input_utils, "construct_executor_input", self.around_executor_input)
        self.hook(cache.LocalCache, "compute_key", self.around_compute_key)
        self.hook(subprocess_task_handler, "environment", lambda _: self.environment)
        self.hook(subprocess_task_handler, "run_local_subprocess", lambda _: self.run_component)

    @staticmethod
    def hook(owner: Any, name: str, around: Any) -> None:
        official = getattr(owner, name, None)
        if official is None:
            raise RuntimeError(
                f"kfp.local of kfp {sys.modules['kfp'].__version__} has no {owner.__name__}.{name}: "
                "the run's environment needs the kfp of the sandbox server"
            )
        setattr(owner, name, around(official))

    # -- DAGs

    def make_store_class(self, official: Any) -> Any:
        scope, tasks = self.scope, self.tasks

        class Store(official):
            """Knows which DAG it belongs to: the orchestrators hand the store on, but not the DAG's name."""

            def __init__(self, parent: Any = None) -> None:
                super().__init__(parent=parent)
                self.dag = scope.dag

            def get_parent_input(self, key: str) -> Any:
                """Also finds what loops ask for: kfp.local 2.17 takes every output not named Output for an input."""
                try:
                    return super().get_parent_input(key)
                except ValueError:
                    for name in (key, f"pipelinechannel--{key}"):
                        for task in tasks[self.dag].values():
                            inputs = task.inputs.parameters  # asking a map for what it has not makes it
                            if name in inputs and inputs[name].HasField("task_output_parameter"):
                                source = inputs[name].task_output_parameter
                                return self.get_task_output(source.producer_task, source.output_parameter_key)
                    raise

        return Store

    def condition_holds(self, condition: str, store: Any) -> bool:
        """Evaluate a trigger condition on the task's own inputs.

        kfp.local 2.17 pastes values into the expression as text and takes whatever fails as False: a condition on a
        named output never held. The compiler writes only comparisons of `inputs.parameter_values[...]` and constants.
        """
        for task in self.tasks[store.dag].values():
            if task.trigger_policy.condition == condition:
                values = self.arguments(task, store)
                break
        else:
            raise RuntimeError(f"no task of {store.dag} has the condition {condition}")
        names = re.findall(r"inputs\.parameter_values\['([^']+)'\]", condition)
        if any(name not in values for name in names):
            return False  # it depends on a task that was skipped
        expression = condition.replace("inputs.parameter_values", "values").replace("&&", " and ").replace("||", " or ")
        expression = re.sub(r"!(?!=)", " not ", expression)
        known = {"values": values, "true": True, "false": False, "null": None}
        known |= {"int": int, "double": float, "string": str, "bool": bool}
        try:
            return bool(eval(expression, {"__builtins__": {}}, known))
        except Exception as error:
            raise RuntimeError(f"the condition {condition} cannot be evaluated: {error}") from error

    def around_dag(self, official: Any) -> Any:
        def run_dag(*args: Any, **kwargs: Any) -> Any:
            path = self.scope.dag
            tasks = kwargs["dag_component_spec"].dag.tasks
            with self.lock:
                self.tasks[path] = dict(tasks)
                self.seen.setdefault(path, set())
            outputs, outcome, error = {}, status.Status.FAILURE, ""
            try:
                outputs, outcome = official(*args, **kwargs)
            except Exception as problem:
                error = str(problem)
                raise
            finally:
                self.close_dag(path, tasks, outcome != status.Status.SUCCESS, error)
            return outputs, outcome

        return run_dag

    def close_dag(self, path: str, tasks: Any, failed: bool, error: str) -> None:
        """Say how a DAG ended, once; before that, which of its tasks were never started."""
        state = "FAILED" if failed else "SUCCEEDED"
        with self.lock:
            if path in self.closed:
                return
            self.closed.add(path)
            loops = sorted(loop for loop in self.loops if loop.rpartition("/")[0] == path)
        for name in sorted(set(tasks) - self.seen.get(path, set(tasks))):
            reason = "OMITTED" if failed and not tasks[name].trigger_policy.condition else "SKIPPED"
            self.channel.tell(
                "task_skipped",
                path=join(path, name), parent=path, task=name, reason=reason,
                display_name=tasks[name].task_info.name, component=tasks[name].component_ref.name,
            )  # fmt: skip
        for loop in loops:
            self.channel.tell("dag_finished", path=loop, state=state, error="")
        if error:
            self.failures.append(f"{path} failed: {error}")
        self.channel.tell("dag_finished", path=path, state=state, error=error)

    def place(self, parent: str, task_name: str, task_spec: Any) -> tuple[str, str, str, int | None]:
        """The path of a task, its parent's, its own name, and its iteration; opens the loop of a first iteration."""
        match = ITERATION.match(task_name)
        if match is None:
            with self.lock:
                self.seen[parent].add(task_name)
            return join(parent, task_name), parent, task_name, None
        name, index = match["loop"], int(match["index"])
        loop = join(parent, name)
        with self.lock:
            first = loop not in self.loops
            self.loops.add(loop)
            self.seen[parent].add(name)
            if first:
                self.channel_loop(loop, parent, name, task_spec)
        return f"{loop}/{index}", loop, name, index

    def channel_loop(self, loop: str, parent: str, name: str, task_spec: Any) -> None:
        self.channel.tell(
            "dag_started",
            path=loop,
            parent=parent,
            task=name,
            component=task_spec.component_ref.name,
            inputs={},
            display_name=task_spec.task_info.name,
        )

    def around_task(self, official: Any) -> Any:
        def execute_task(*args: Any, **kwargs: Any) -> Any:
            task_name, task_spec, store = kwargs["task_name"], kwargs["task_spec"], kwargs["io_store"]
            component = kwargs["components"][task_spec.component_ref.name]
            if component.WhichOneof("implementation") != "dag":
                return official(*args, **kwargs)
            path, parent, name, index = self.place(store.dag, task_name, task_spec)
            self.scope.dag = path
            self.channel.tell(
                "dag_started",
                path=path, parent=parent, task=name, iteration=index, display_name=task_spec.task_info.name,
                component=task_spec.component_ref.name, inputs=parameters_of(self.arguments(task_spec, store)),
            )  # fmt: skip
            try:
                return official(*args, **kwargs)
            except Exception as problem:  # before the DAG began: its inputs
                self.close_dag(path, {}, True, str(problem))
                raise

        return execute_task

    # -- tasks

    def arguments(self, task_spec: Any, store: Any) -> dict[str, Any]:
        try:
            return orchestrator_utils.OrchestratorUtils.make_task_arguments(task_spec.inputs, store)
        except (KeyError, ValueError):
            return {}  # kfp.local says the same with its own words a moment later

    def around_single_task(self, official: Any) -> Any:
        def execute_single_task(*args: Any, **kwargs: Any) -> Any:
            task_spec, store, executors = kwargs["task_spec"], kwargs["io_store"], kwargs["executors"]
            path, parent, name, index = self.place(store.dag, kwargs["task_name"], task_spec)
            label = kwargs["components"][task_spec.component_ref.name].executor_label
            kept = self.job["finished"].get(path)
            if kept is not None:  # a retry of the run: what had succeeded stays
                return cache.LocalCache._deserialize_outputs(kept), status.Status.SUCCESS
            scope = self.scope
            scope.task, scope.name, scope.dispatched, scope.cache_key, scope.error = path, name, False, "", ""
            scope.python = self.job["pythons"].get(label, sys.executable)
            arguments = self.arguments(task_spec, store)
            self.channel.tell(
                "task_started",
                path=path, parent=parent, task=name, iteration=index, display_name=task_spec.task_info.name,
                component=task_spec.component_ref.name, kind=executors[label].WhichOneof("spec"),
                image=executors[label].container.image,
                inputs=parameters_of(arguments), artifacts=artifacts_of(arguments),
            )  # fmt: skip
            outputs, outcome = {}, status.Status.FAILURE
            try:
                outputs, outcome = official(*args, **kwargs)
            except Exception as error:
                scope.error = str(error)
                raise
            finally:
                self.report(path, name, outputs, outcome)
            return outputs, outcome

        return execute_single_task

    def report(self, path: str, name: str, outputs: dict[str, Any], outcome: Any) -> None:
        scope = self.scope
        if outcome != status.Status.SUCCESS:
            error = scope.error or "the component failed and printed nothing"
            self.failures.append(f"task {name} failed: {error}")
            self.channel.tell("task_finished", path=path, state="FAILED", error=error, cache_key=scope.cache_key)
            return
        cached = bool(scope.cache_key) and not scope.dispatched
        self.channel.tell(
            "task_finished",
            path=path, state="CACHED" if cached else "SUCCEEDED", error="", cache_key=scope.cache_key,
            outputs=parameters_of(outputs), artifacts=artifacts_of(outputs),
            kept=cache.LocalCache._serialize_outputs(outputs),
        )  # fmt: skip

    def around_compute_key(self, official: Any) -> Any:
        def compute_key(*args: Any, **kwargs: Any) -> str:
            self.scope.cache_key = official(*args, **kwargs)
            return self.scope.cache_key

        return compute_key

    def around_dispatch(self, official: Any) -> Any:
        def run_single_task_implementation(*args: Any, **kwargs: Any) -> Any:
            self.scope.dispatched = True
            try:
                outputs, outcome = official(*args, **kwargs)
                if outcome == status.Status.SUCCESS:
                    self.publish(outputs)
            except Exception as error:
                self.scope.error = str(error)
                return {}, status.Status.FAILURE
            return outputs, outcome

        return run_single_task_implementation

    # -- artifacts

    def path_of(self, uri: str) -> Path:
        return self.mount / uri.removeprefix("s3://")

    def around_executor_input(self, official: Any) -> Any:
        def construct_executor_input(*args: Any, **kwargs: Any) -> Any:
            made = official(*args, **kwargs)
            for name, artifacts in made.inputs.artifacts.items():
                self.stage(name, [artifact.uri for artifact in artifacts.artifacts])
            # a new folder for each attempt, as the driver makes one
            root = f"{self.job['pipeline_root']}/{self.scope.name}/{uuid.uuid4()}"
            for name, artifacts in made.outputs.artifacts.items():
                for artifact in artifacts.artifacts:
                    artifact.uri = f"{root}/{name}"
            self.scope.output_file = self.path_of(root) / "executor_output.json"
            self.scope.output_file.parent.mkdir(parents=True, exist_ok=True)
            made.outputs.output_file = str(self.scope.output_file)
            return made

        return construct_executor_input

    def stage(self, name: str, uris: list[str]) -> None:
        missing = [uri for uri in uris if not self.path_of(uri).exists()]
        if missing:
            self.channel.ask("stage", task=self.scope.name, artifact=name, uris=missing)

    def publish(self, outputs: dict[str, Any]) -> None:
        self.collect_custom_paths()
        uris = [
            artifact.uri
            for value in outputs.values()
            for artifact in (value if isinstance(value, list) else [value])
            if isinstance(artifact, dsl.Artifact) and self.path_of(artifact.uri).exists()
        ]
        if uris:
            self.channel.ask("publish", task=self.scope.name, uris=uris)

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
        yield self.scope.python

    def run_component(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run a component; the last lines of its output are the task's error message if it fails."""
        command = without_pip_install(full_command)
        command = [part.replace("-m kfp.dsl.executor_main", f'"{COMPONENT_MAIN}"', 1) for part in command]
        bin_folder = Path(self.scope.python).parent
        env = {**os.environ, **(env_vars or {}), "META_SANDBOX_S3_MOUNT": str(self.mount)}
        env["PATH"] = f"{bin_folder}{os.pathsep}{env.get('PATH', os.defpath)}"
        env.pop("PYTHONPATH", None)  # ours
        env["VIRTUAL_ENV"] = str(bin_folder.parent)
        tail: list[str] = []
        log = self.folder / "logs" / f"{self.scope.task.replace('/', '.')}.log"
        with (
            log.open("a", encoding="utf-8") as file,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                bufsize=1,
                env=env,
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                file.flush()
                tail = [*tail[-LOG_TAIL_LINES:], line]
        if process.returncode != 0:
            self.scope.error = f"exit code {process.returncode}: {last_words(tail)}"
        return process.returncode
