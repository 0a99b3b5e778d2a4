# pyright: basic
# (kfp has no types)
"""Runs the DAGs of a pipeline; each task goes to `kfp.local`.

kfp.local's own orchestrator runs the tasks of a DAG one after the other and gives up on OneOf over artifacts, nested
Collected, parts of loop items, nulls, and final states. So DAGs are run here, by the rules of the Argo Workflow that
the real server compiles (kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go):

- a task starts when all its dependencies have succeeded; one whose dependency was skipped or failed is omitted;
- when a task has failed, no other task of its DAG starts (Argo's failFast), and the DAG fails;
- a task that wants its dependencies only completed is an exit hook of them: it runs whatever came of them, and its own
  end does not count.
"""

from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Any

from .channel import Channel
from .conditions import holds
from .inputs import COMPLETED, Dag, collected, items, needs, outputs_of, resolve, with_defaults
from .values import join, parameters_of

MOST_THREADS = 64
Outcome = tuple[str, dict[str, Any]]  # the state, and the outputs


@dataclass(frozen=True)
class Place:
    """A task at its place; `iteration` is None outside loops."""

    path: str
    parent: str
    name: str
    task: Any
    component: Any
    dag: Dag
    iteration: int | None = None

    @property
    def is_dag(self) -> bool:
        return self.component.WhichOneof("implementation") == "dag"


class Orchestrator:
    """One run's DAGs.

    Args:
        spec: the `PipelineSpec`.
        channel: hears what happens.
        execute: runs a container or an importer with its arguments; with an error, it ends before it begins.
        facts: see `inputs.resolve`.
        failures: takes what went wrong.
    """

    def __init__(
        self,
        spec: Any,
        channel: Channel,
        execute: Callable[[Place, dict[str, Any], str], Outcome],
        facts: dict[str, str], failures: list[str],
    ) -> None:  # fmt: skip
        self.root = spec.root
        self.components = dict(spec.components.items())
        self.channel = channel
        self.execute = execute
        self.facts = facts
        self.failures = failures

    def run(self, parameters: dict[str, Any]) -> str:
        """Run the pipeline; returns its state."""
        self.channel.tell(
            "dag_started", path="root", parent="", task="", component="", inputs=parameters, display_name=""
        )
        return self.run_dag("root", self.root, parameters)[0]

    def run_dag(self, path: str, component: Any, arguments: dict[str, Any]) -> Outcome:
        dag = Dag(path, dict(component.dag.tasks), with_defaults(arguments, component))
        try:
            self.run_tasks(dag)
        finally:
            failed = [
                name for name, state in dag.states.items() if state == "FAILED" and not is_hook(dag.tasks[name])
            ] or set(dag.tasks) - set(dag.states)
            state = "FAILED" if failed else "SUCCEEDED"
            self.channel.tell("dag_finished", path=path, state=state, error="")
        return state, outputs_of(dag, component)

    def run_tasks(self, dag: Dag) -> None:
        waiting = {name: needs(task) & set(dag.tasks) for name, task in dag.tasks.items()}
        running: dict[futures.Future[Outcome], str] = {}
        with futures.ThreadPoolExecutor(max_workers=min(len(waiting), MOST_THREADS)) as pool:
            while waiting or running:
                for name in self.decided(dag, waiting):
                    running[pool.submit(self.run_task, dag, name)] = name
                if not running:
                    break
                done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
                for one in done:
                    name = running.pop(one)
                    state, outputs = one.result()
                    if state == "SUCCEEDED":
                        dag.outputs[name] = outputs
                    dag.states[name] = state
        for name in waiting:  # a failure stopped the DAG before them
            self.tell_skipped(dag, name, "OMITTED")

    def decided(self, dag: Dag, waiting: dict[str, set[str]]) -> list[str]:
        """Takes from those that wait the ones to start now, and marks the ones that never will."""
        start: list[str] = []
        changed = True
        while changed:
            changed = False
            stopped = any(state == "FAILED" and not is_hook(dag.tasks[n]) for n, state in dag.states.items())
            for name, wanted in list(waiting.items()):
                ended = {dag.states.get(one) for one in wanted}
                hook = is_hook(dag.tasks[name])
                if None in ended or (stopped and not hook):
                    continue
                never = ended & {"SKIPPED", "OMITTED"} if not hook else bool(ended) and ended <= {"SKIPPED", "OMITTED"}
                del waiting[name]
                if never:
                    self.tell_skipped(dag, name, "OMITTED")
                    changed = True
                else:
                    start.append(name)
        return start

    def tell_skipped(self, dag: Dag, name: str, reason: str) -> None:
        task = dag.tasks[name]
        dag.states[name] = reason
        self.channel.tell(
            "task_skipped",
            path=join(dag.path, name), parent=dag.path, task=name, reason=reason,
            display_name=task.task_info.name, component=task.component_ref.name,
        )  # fmt: skip

    def run_task(self, dag: Dag, name: str) -> Outcome:
        task = dag.tasks[name]
        place = Place(join(dag.path, name), dag.path, name, task, self.components[task.component_ref.name], dag)
        try:
            arguments = resolve(task, place.component, dag, self.facts | {"{{$.pipeline_task_name}}": name})
            condition = task.trigger_policy.condition
            if condition and not holds(condition, arguments):
                self.tell_skipped(dag, name, "SKIPPED")
                return "SKIPPED", {}
            over = items(task, arguments) if task.WhichOneof("iterator") else None
        except Exception as error:  # the real driver would have failed with it; the component never starts
            return self.broken(place, str(error) or type(error).__name__)
        return self.run_component(place, arguments) if over is None else self.run_loop(place, arguments, over)

    def broken(self, place: Place, error: str) -> Outcome:
        if not place.is_dag:
            return self.execute(place, {}, error)
        self.failures.append(f"task {place.name} failed: {error}")
        self.tell_dag(place, {})
        self.channel.tell("dag_finished", path=place.path, state="FAILED", error=error)
        return "FAILED", {}

    def run_loop(self, place: Place, arguments: dict[str, Any], over: list[Any]) -> Outcome:
        iterator, limit = place.task.parameter_iterator, place.task.iterator_policy.parallelism_limit or MOST_THREADS
        self.tell_dag(place, arguments, iterations=len(over))
        with futures.ThreadPoolExecutor(max_workers=max(1, min(limit, len(over), MOST_THREADS))) as pool:
            started = [
                pool.submit(
                    self.run_component,
                    replace(place, path=f"{place.path}/{index}", parent=place.path, iteration=index),
                    arguments | {iterator.item_input: item},
                )
                for index, item in enumerate(over)
            ]
        ended = [one.result() for one in started]
        state = "FAILED" if any(state == "FAILED" for state, _ in ended) else "SUCCEEDED"
        self.channel.tell("dag_finished", path=place.path, state=state, error="")
        return state, collected(place.component, [outputs for _, outputs in ended])

    def run_component(self, place: Place, arguments: dict[str, Any]) -> Outcome:
        if not place.is_dag:
            return self.execute(place, arguments, "")
        self.tell_dag(place, arguments)
        return self.run_dag(place.path, place.component, arguments)

    def tell_dag(self, place: Place, arguments: dict[str, Any], iterations: int | None = None) -> None:
        self.channel.tell(
            "dag_started",
            path=place.path, parent=place.parent, task=place.name, iteration=place.iteration,
            display_name=place.task.task_info.name, component=place.task.component_ref.name,
            inputs=parameters_of(arguments), iterations=iterations,
        )  # fmt: skip


def is_hook(task: Any) -> bool:
    """True for `dsl.ExitHandler`'s exit task and for `ignore_upstream_failure()`."""
    return task.trigger_policy.strategy == COMPLETED
