"""The tree of tasks that a server of 3.x shows, from what is stored."""

from __future__ import annotations

import uuid
from typing import Any

from meta.sandbox.kfp.runs import RunRecord, TaskRecord
from meta.sandbox.kfp.task_tree import Recorded, TaskNode, build_tree, count, links, view

RUN = RunRecord("shown", "experiment", {}, {}, "wf", id=str(uuid.UUID(int=1)))


def selector(task: str, key: str) -> dict[str, Any]:
    return {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": key}}


def spec(kind: str = "LIST") -> dict[str, Any]:
    """outer: a loop whose body has a DAG with one task in it, `make`; its output comes up to the root."""
    out = {"parameters": {"made": {"parameterType": kind}}}
    return {
        "root": {
            "outputDefinitions": out,
            "dag": {
                "tasks": {"loop": {"componentRef": {"name": "loop"}, "parameterIterator": {}}},
                "outputs": {"parameters": {"made": selector("loop", "made")}},
            },
        },
        "components": {
            "loop": {
                "outputDefinitions": out,
                "dag": {
                    "tasks": {"inner": {"componentRef": {"name": "inner"}}},
                    "outputs": {"parameters": {"made": selector("inner", "made")}},
                },
            },
            "inner": {
                "outputDefinitions": out,
                "dag": {
                    "tasks": {
                        "make": {
                            "componentRef": {"name": "make"},
                            "inputs": {
                                "parameters": {
                                    "given": {"componentInputParameter": "x"},
                                    "told": {"taskOutputParameter": {"producerTask": "other"}},
                                    "fixed": {"runtimeValue": {"constant": 1}},
                                }
                            },
                        }
                    },
                    "outputs": {"parameters": {"made": selector("make", "Output")}},
                },
            },
            "make": {},
        },
    }


def task(path: str, kind: str = "dag", state: str = "SUCCEEDED", name: str = "") -> TaskRecord:
    parent, _, last = path.rpartition("/")
    number = str(uuid.uuid5(uuid.UUID(int=2), path))
    return TaskRecord(RUN.id, path, parent, name or last, kind, state, id=number, started_at=1, finished_at=2)


def recorded(order: tuple[int, ...] = (0, 1)) -> list[Recorded]:
    rows = [Recorded(task("root")), Recorded(task("root/loop"), iterations=2)]
    for number in order:
        here = f"root/loop/{number}"
        rows += [
            Recorded(task(here, name="loop"), iteration=number),
            Recorded(task(f"{here}/inner")),
            Recorded(
                task(f"{here}/inner/make", "container"),
                inputs={"given": 1, "told": 2, "fixed": 3, "left": 4},
                outputs={"Output": f"made {number}", "other": 0},
                output_artifacts={"file": [{"artifact_id": f"a{number}"}]},
            ),
        ]
    return rows


def outputs(node: TaskNode) -> list[tuple[str, str, Any, int | None]]:
    return [(io.key, io.kind, io.value, io.iteration) for io in node.outputs if io.artifacts is None]


def test_the_tasks_of_a_loops_body_stand_below_the_loop_with_their_iteration() -> None:
    tree = build_tree(spec(), recorded())
    assert [node.scope for node in tree] == [
        "root", "root.loop", "root.loop.inner", "root.loop.inner.make", "root.loop.inner", "root.loop.inner.make",
    ]  # fmt: skip
    assert [node.kind for node in tree] == ["ROOT", "LOOP", "DAG", "RUNTIME", "DAG", "RUNTIME"]
    assert [node.iteration for node in tree] == [None, None, 0, 0, 1, 1]
    assert [view(RUN, node).get("type_attributes") for node in tree[:3]] == [
        {}, {"iteration_count": "2"}, {"iteration_index": "0"},
    ]  # fmt: skip
    assert count(one.task for one in recorded()) == len(tree)


def test_an_output_comes_up_to_every_task_that_declares_it() -> None:
    root, loop, inner, make, *_ = build_tree(spec(), recorded(order=(1, 0)))
    assert outputs(make) == [("Output", "ITERATOR_OUTPUT", "made 1", 1), ("other", "ITERATOR_OUTPUT", 0, 1)]
    assert outputs(inner) == [("made", "OUTPUT", "made 1", None)]
    assert [value for _, _, value, _ in outputs(root)] == [value for _, _, value, _ in outputs(loop)]
    assert {kind for _, kind, _, _ in outputs(root)} == {"ITERATOR_OUTPUT"}
    assert all(io.producer == "loop" for io in root.outputs)


def test_inputs_say_where_they_come_from() -> None:
    make = build_tree(spec(), recorded())[3]
    assert {io.key: (io.kind, io.producer) for io in make.inputs} == {
        "given": ("COMPONENT_INPUT", ""), "told": ("TASK_OUTPUT_INPUT", "other"),
        "fixed": ("RUNTIME_VALUE_INPUT", ""), "left": ("COMPONENT_DEFAULT_INPUT", ""),
    }  # fmt: skip


def test_links_of_artifacts_are_the_same_each_time_and_apart() -> None:
    tree = build_tree(spec(), recorded())
    found = [link for node in tree for link in links(RUN, node)]
    assert found == [link for node in build_tree(spec(), recorded()) for link in links(RUN, node)]
    assert [link["artifact_id"] for link in found] == ["a0", "a1"]
    assert len({link["id"] for link in found}) == 2


def test_a_task_that_was_never_reached_is_not_there() -> None:
    rows = [Recorded(task("root")), Recorded(task("root/loop", state="OMITTED"))]
    assert [node.scope for node in build_tree(spec(), rows)] == ["root"]
    assert count(one.task for one in rows) == 1


def test_an_empty_value_is_still_a_value() -> None:
    made = Recorded(task("root/loop", "container"), outputs={"made": ""})
    shown = view(RUN, build_tree(spec("STRING"), [Recorded(task("root")), made])[1])
    assert shown["outputs"]["parameters"][0]["value"] == ""
