"""Random workflows end as a plain model of Argo's documented rules says (`tests/support/argo_model.py`)."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from meta.sandbox.argo.state.status import NodeStatus, Phase
from tests.support.argo import Simulation, pod
from tests.support.argo_model import Call, Dag, Model, Steps, show

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted")
OF_ITEMS = ("AnySucceeded", "AllFailed")
_often_true = st.sampled_from([True, True, True, False])


@st.composite
def depends(draw: st.DrawFn, tasks: list[Call], levels: int = 2) -> object:
    names = [task.name for task in tasks]
    kind = draw(st.sampled_from(["name", "result", "!", "&&", "||"] if levels else ["name", "result"]))
    if kind == "name":
        return draw(st.sampled_from(names))
    if kind == "result":
        task = draw(st.sampled_from(tasks))
        return (task.name, draw(st.sampled_from(RESULTS if task.items is None else (*RESULTS, *OF_ITEMS))))
    parts = [draw(depends(tasks, levels - 1)) for _ in range(1 if kind == "!" else 2)]
    return (kind, *parts)


@st.composite
def calls(draw: st.DrawFn, name: str, bad: str, inner: st.SearchStrategy[Dag | Steps] | None) -> Call:
    if inner is not None and draw(st.sampled_from([False, False, True])):
        return Call(name, inner=draw(inner), runs=draw(_often_true))
    plays = draw(st.lists(st.sampled_from(["Succeeded", "Succeeded", bad]), min_size=1, max_size=3))
    return Call(
        name, tuple(plays), runs=draw(_often_true), items=draw(st.sampled_from([None, None, 1, 2, 3])),
        retries=draw(st.sampled_from([None, None, 0, 1, 2])),
    )  # fmt: skip


def _with(call: Call, **values: object) -> Call:
    return Call(**{**vars(call), **values})  # type: ignore[arg-type]


_continues = st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"Failed"}), frozenset({"Error"})])


@st.composite
def dags(draw: st.DrawFn, bad: str, *, nested: bool) -> Dag:
    enhanced = draw(st.booleans())
    tasks: list[Call] = []
    for index in range(draw(st.integers(1, 6))):
        names = [task.name for task in tasks]
        task = draw(calls(f"t{index}", bad, steps(bad, nested=False) if nested else None))
        if names and enhanced and draw(_often_true):
            task = _with(task, depends=draw(depends(tasks)))
        elif not enhanced:
            needs = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=2))) if names else ()
            task = _with(task, needs=needs, continues=draw(_continues))
        tasks.append(task)
    return Dag(tuple(tasks), draw(st.booleans()))


@st.composite
def steps(draw: st.DrawFn, bad: str, *, nested: bool) -> Steps:
    groups: list[tuple[Call, ...]] = []
    for index in range(draw(st.integers(1, 3))):
        group = [
            draw(calls(f"s{index}{number}", bad, dags(bad, nested=False) if nested else None))
            for number in range(draw(st.integers(1, 3)))
        ]
        groups.append(tuple(_with(step, continues=draw(_continues) if nested else frozenset[str]()) for step in group))
    return Steps(tuple(groups))


workflows = st.sampled_from(["Failed", "Error"]).flatmap(
    lambda bad: st.one_of(dags(bad, nested=True), steps(bad, nested=True))
)


class _Manifest:
    """The templates of a model."""

    def __init__(self, root: Dag | Steps) -> None:
        self.templates: list[dict[str, object]] = []
        self._add(root, "main")

    def _add(self, template: Dag | Steps, name: str) -> None:
        if isinstance(template, Dag):
            tasks = [self._call(task, name) for task in template.tasks]
            self.templates.append({"name": name, "dag": {"tasks": tasks, "failFast": template.fail_fast}})
        else:
            groups = [[self._call(step, name) for step in group] for group in template.groups]
            self.templates.append({"name": name, "steps": groups})

    def _call(self, call: Call, above: str) -> dict[str, object]:
        body: dict[str, object] = {"name": call.name, "template": f"{above}-{call.name}"}
        if call.inner is not None:
            self._add(call.inner, f"{above}-{call.name}")
        else:
            retry = {} if call.retries is None else {
                "retryStrategy": {"limit": call.retries, "retryPolicy": "Always"}
            }  # fmt: skip
            self.templates.append(pod(f"{above}-{call.name}", **retry))
        if not call.runs:
            body["when"] = "1 == 2"
        if call.items is not None:
            body["withItems"] = [f"i{index}" for index in range(call.items)]
        if call.continues:
            body["continueOn"] = {"failed": "Failed" in call.continues, "error": "Error" in call.continues}
        if call.needs:
            body["dependencies"] = list(call.needs)
        if call.depends is not None:
            body["depends"] = show(call.depends)
        return body


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(root=workflows)
def test_any_workflow_ends_as_the_documented_rules_say(root: Dag | Steps) -> None:
    manifest = _Manifest(root).templates
    note(json.dumps(manifest, indent=1))  # shown with the smallest failure
    model = Model()
    expected = model.template(root, "wf")
    ran: set[str] = set()

    def ending(node: NodeStatus, _: object) -> tuple[Phase, dict[str, str]]:
        ran.add(node.name)
        return Phase(model.pods[node.name]), {}

    sim = Simulation(*manifest)
    phase = sim.run(ending)
    found = {node.name: str(node.phase) for node in sim.workflow.status.nodes.values()}
    wrong = {
        name: (found.get(name), model.nodes.get(name))
        for name in found.keys() | model.nodes.keys()
        if found.get(name) not in model.nodes.get(name, set())
    }
    assert not wrong, "found, expected"
    assert ran == model.pods.keys()
    assert str(phase) in expected
