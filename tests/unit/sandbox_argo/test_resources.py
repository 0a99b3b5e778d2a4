"""Conditions, paths, patches and command lines of resource templates."""

from __future__ import annotations

import pytest
from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.resources.command import read_command, read_flags
from meta.sandbox.argo.resources.conditions import is_met, lookup, read_condition
from meta.sandbox.argo.resources.jsonpath import JsonPathError, evaluate_json_path
from meta.sandbox.argo.resources.kinds import KubectlError
from meta.sandbox.argo.resources.patches import PatchError, json_patch, merge_patch, three_way
from meta.sandbox.argo.state.status import JsonObject

BODY: JsonObject = {
    "metadata": {"name": "x", "labels": {"a.b/c": "d"}},
    "status": {"phase": "Failed", "succeeded": 3, "done": True, "none": None,
               "conditions": [{"type": "Ready", "status": "True"}, {"type": "Seen", "status": "False"}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("status.phase == Failed", True),
        ("status.phase=Succeeded", False),
        ("status.phase != Succeeded", True),
        ("status.phase in (Failed, Error)", True),
        ("status.phase notin (Failed, Error)", False),
        ("status.succeeded > 2", True),
        ("status.succeeded > 3", False),
        ("status.succeeded < 4, status.phase in (Failed)", True),
        ("status.succeeded < 4, status.phase in (Succeeded)", False),
        ("status.phase > 3", False),
        ("status.done == true", True),
        ("status.missing != x", True),
        ("status.missing == x", False),
        ("status.missing", False),
        ("!status.missing", True),
        ("status.conditions.0.type = Ready", True),
        ("status.none =", True),
    ],
)
def test_a_condition_reads_fields_as_kubernetes_reads_labels(condition: str, met: bool) -> None:
    assert is_met(BODY, read_condition("success", condition), []) is met


def test_a_failure_condition_comes_first_and_is_named_as_kubernetes_writes_it() -> None:
    failure = read_condition("fail", "status.phase in (Failed, Error)")
    with pytest.raises(KubectlError, match=r"^failure condition 'status.phase in \(Error,Failed\)' evaluated true$"):
        is_met(BODY, read_condition("success", "status.phase == Failed"), failure)


@pytest.mark.parametrize("condition", ["status.phase ==== x", "a > b", "a in b", "a == 'x'", "status.a[0] == x"])
def test_what_is_no_condition_is_named(condition: str) -> None:
    with pytest.raises(KubectlError, match=r"success condition '.*' failed to parse"):
        read_condition("success", condition)


def test_a_field_that_is_an_object_is_its_json() -> None:
    assert lookup(BODY, "status.conditions.1") == '{"type":"Seen","status":"False"}'


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("{.metadata.name}", "x"),
        ("{$.metadata['name']}", "x"),
        ("name={.metadata.name}!", "name=x!"),
        (r"{.metadata.labels.a\.b/c}", "d"),
        (r"{.metadata.labels['a.b/c']}", "d"),
        ("{.status.succeeded}", "3"),
        ("{.status.done}", "true"),
        ("{.status.missing.more}", ""),
        ("{.status.conditions[0]}", '{"status":"True","type":"Ready"}'),
        ("{.status.conditions[-1].type}", "Seen"),
        ("{.status.conditions[*].type}", "Ready Seen"),
        ('{.status.conditions[?(@.type=="Seen")].status}', "False"),
        ("{.status.conditions[?(@.type != 'Seen')].status}", "True"),
        (".metadata.name", ".metadata.name"),
        ("{range .status.conditions[*]}{.type}{end}", None),
        ("{..name}", None),
        ("{.a", None),
    ],
)
def test_a_path_prints_what_kubectl_prints_or_is_refused(path: str, printed: str | None) -> None:
    if printed is None:
        with pytest.raises(JsonPathError, match="not supported by the sandbox"):
            evaluate_json_path(path, BODY)
    else:
        assert evaluate_json_path(path, BODY) == printed


def test_a_merge_patch_takes_out_what_is_null() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None}, "d": [2]}) == {"a": {"c": 2}, "d": [2]}


def test_apply_takes_out_only_what_it_had_applied_before() -> None:
    live: JsonObject = {"data": {"mine": "1", "theirs": "2", "old": "3"}}
    assert three_way({"data": {"mine": "1", "old": "3"}}, {"data": {"mine": "4"}}, live) == {
        "data": {"mine": "4", "theirs": "2"}
    }


def test_a_json_patch_does_its_operations_in_order_on_a_copy() -> None:
    body: JsonObject = {"a": [1, 2], "b~/": {"c": 1}}
    patch: JsonValue = [
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "remove", "path": "/a/1"},
        {"op": "replace", "path": "/b~0~1/c", "value": 5},
        {"op": "copy", "from": "/a", "path": "/d"},
        {"op": "move", "from": "/d/0", "path": "/e"},
    ]
    assert json_patch(body, patch) == {"a": [0, 2, 3], "b~/": {"c": 5}, "d": [2, 3], "e": 0}
    assert body == {"a": [1, 2], "b~/": {"c": 1}}


@pytest.mark.parametrize(
    "step",
    [
        {"op": "add", "path": "/no/where", "value": 1},
        {"op": "remove", "path": "/no"},
        {"op": "replace", "path": "/no", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "a", "value": 2},
        {"op": "swap", "path": "/a"},
    ],
)
def test_an_operation_that_does_not_fit_is_refused(step: JsonObject) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": 1}, [step])


def test_flags_name_what_a_command_is_about() -> None:
    command = read_command(
        m.ResourceTemplate(action="delete", flags=["cm", "--selector", "a=b", "--wait=false", "-n=argo"]), "argo"
    )
    assert (command.kind.title, command.names, command.flags.selector) == ("ConfigMap", [], "a=b")
    command = read_command(m.ResourceTemplate(action="get", flags=["workflow/one"]), "argo")
    assert (command.kind.title, command.names) == ("Workflow", ["one"])


@pytest.mark.parametrize("flag", ["--server-side", "--cascade=orphan", "--all", "-f", "--dry-run=client"])
def test_flags_that_would_matter_are_refused_by_name(flag: str) -> None:
    with pytest.raises(KubectlError, match=f"flag {flag} of kubectl delete is not supported by the sandbox"):
        read_flags("delete", [flag])
