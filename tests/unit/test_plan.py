"""Every step once, each after all it depends on."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import DefinitionInvalid
from workflows.plan import find_circle, make_plan
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonValue


def definition(steps: Mapping[str, Mapping[str, object]]) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "x"},
            "steps": {name: {"argo": {"template": "t"}} | dict(step) for name, step in steps.items()},
        }
    )


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, set[str]]:
    """Any directed graph without circles, its nodes in any order."""
    count = draw(st.integers(1, 12))
    names = [f"s{i}" for i in range(count)]
    edges = {
        name: set(draw(st.lists(st.sampled_from(names[:i]), max_size=4)) if i else []) for i, name in enumerate(names)
    }
    order = draw(st.permutations(names))
    return {name: edges[name] for name in order}


@given(graphs(), st.data())
def test_each_step_comes_once_after_all_it_depends_on(graph: dict[str, set[str]], data: st.DataObject) -> None:
    steps: dict[str, dict[str, JsonValue]] = {}
    for name, dependencies in graph.items():
        needs: list[JsonValue] = []
        parameters: dict[str, JsonValue] = {}
        when: list[str] = ["true"]
        for dependency in sorted(dependencies):
            way = data.draw(st.sampled_from(["needs", "parameter", "when"]))
            if way == "needs":
                needs.append(dependency)
            elif way == "parameter":
                parameters[dependency] = [f"x ${{{{ steps.{dependency}.outputs.y }}}}"]
            else:
                when.append(f"steps.{dependency}.state == 'succeeded'")
        steps[name] = {"needs": needs, "parameters": parameters, "when": " && ".join(when)}
    plan = make_plan(definition(steps))
    order = [s.name for s in plan.steps]
    assert sorted(order) == sorted(graph)
    for step in plan.steps:
        assert set(step.dependencies) == graph[step.name]
        assert all(order.index(d) < order.index(step.name) for d in step.dependencies)
        assert set(step.decides_for) <= graph[step.name]


@given(graphs())
def test_the_same_definition_gives_the_same_plan(graph: dict[str, set[str]]) -> None:
    one = definition({name: {"needs": sorted(needs)} for name, needs in graph.items()})
    assert make_plan(one) == make_plan(MetaWorkflow.model_validate_json(one.model_dump_json()))


@given(graphs(), st.data())
def test_a_circle_is_found_wherever_it_is(graph: dict[str, set[str]], data: st.DataObject) -> None:
    start = data.draw(st.sampled_from(sorted(graph)))
    reached = {start}
    while more := {d for n in reached for d in graph[n]} - reached:
        reached |= more
    end = data.draw(st.sampled_from(sorted(reached)))
    graph[end].add(start)  # end is needed by start, perhaps through others; now it needs start
    circle = find_circle({name: tuple(sorted(needs)) for name, needs in graph.items()})
    assert circle
    assert all(following in graph[name] for name, following in zip(circle, [*circle[1:], circle[0]], strict=True))
    with pytest.raises(DefinitionInvalid, match=r"circle|needs itself"):
        make_plan(definition({name: {"needs": sorted(needs)} for name, needs in graph.items()}))


@given(graphs())
def test_no_circle_is_found_where_there_is_none(graph: dict[str, set[str]]) -> None:
    assert find_circle({name: tuple(sorted(needs)) for name, needs in graph.items()}) == []


def test_every_place_of_an_expression_makes_a_dependency() -> None:
    plan = make_plan(
        definition(
            {
                "last": {
                    "needs": ["a"],
                    "when": "steps.b.state == 'failed' && steps.c.outputs.x > 1",
                    "parameters": {
                        "p": {"deep": ["${{ steps.d.outputs.x }}"]},
                        "text": "steps.no.state $${{ steps.no.x }}",
                    },
                    "artifacts": {"m": "${{ steps.e.artifacts.m }}"},
                },
                **{name: {} for name in ("e", "d", "c", "b", "a", "unused")},
            }
        )
    )
    assert plan["last"].dependencies == ("e", "d", "c", "b", "a")
    assert plan["last"].decides_for == ("b",)
    assert [s.name for s in plan.steps][-2:] == ["last", "unused"]


def test_a_step_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DefinitionInvalid, match="unknown step 'b'"):
        make_plan(definition({"a": {"needs": ["b"]}}))


def test_five_hundred_steps_in_a_row_are_planned() -> None:
    steps: dict[str, dict[str, list[str]]] = {f"s{i}": {"needs": [f"s{i + 1}"]} for i in range(499)} | {"s499": {}}
    assert [s.name for s in make_plan(definition(steps)).steps] == [f"s{i}" for i in reversed(range(500))]
