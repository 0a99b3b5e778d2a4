"""Names of nodes and pods, container paths, fields and selectors, watch events."""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.sandbox.argo.api.errors import ApiError
from meta.sandbox.argo.api.fields import FieldFilter
from meta.sandbox.argo.api.selectors import label_selector, name_selector
from meta.sandbox.argo.pods.archive import is_tarball, pack, unpack
from meta.sandbox.argo.pods.paths import PathMap
from meta.sandbox.argo.state.names import fnv32a, node_id, pod_name

ROOT = Path("/pod")


def test_node_ids_are_the_controllers() -> None:
    assert fnv32a("") == 0x811C9DC5
    assert fnv32a("foobar") == 0xBF9CF968  # the hash's own published vectors
    assert node_id("wf", "wf") == "wf"
    assert node_id("wf", "wf.a") == f"wf-{fnv32a('wf.a')}"
    assert pod_name("wf", "wf.a", "tmpl") == f"wf-tmpl-{fnv32a('wf.a')}"
    assert pod_name("wf", "wf", "tmpl") == "wf"
    assert len(pod_name("w" * 63, "x", "t" * 300)) <= 253


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cp /tmp/in /job/out", "cp /pod/tmp/in /pod/job/out"),
        ("--to=/tmp/in", "--to=/pod/tmp/in"),
        ("'/tmp/in'", "'/pod/tmp/in'"),
        ("/tmp/in/deeper.txt", "/pod/tmp/in/deeper.txt"),
        ("/tmp/in.txt /tmp/input /tmp/in-2", "/tmp/in.txt /tmp/input /tmp/in-2"),
        ("s3://bucket/tmp/in", "s3://bucket/tmp/in"),
        ("mkdir /job && cd /job/", "mkdir /pod/job && cd /pod/job/"),
        ("ls /tmp /usr/bin", "ls /tmp /usr/bin"),
        ("wrote /tmp/in.", "wrote /pod/tmp/in."),
    ],
)
def test_declared_paths_and_their_own_parents_move_into_the_pods_folder(text: str, expected: str) -> None:
    paths = PathMap(ROOT, {"/tmp/in", "/job/out"})
    assert paths.rewrite(text) == expected


def test_a_path_does_not_lead_out_of_the_pods_folder() -> None:
    with pytest.raises(ValueError, match="leads upwards"):
        PathMap(ROOT, set()).host("/a/../../etc/passwd")
    assert PathMap(ROOT, set()).rewrite("/tmp/x") == "/tmp/x"


def test_tarballs_keep_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_text("1")
    pack(folder, tmp_path / "data.tgz")
    assert is_tarball(tmp_path / "data.tgz")
    assert not is_tarball(folder / "sub" / "x")
    unpack(tmp_path / "data.tgz", tmp_path / "there" / "renamed")
    assert (tmp_path / "there" / "renamed" / "sub" / "x").read_text() == "1"
    pack(folder / "sub" / "x", tmp_path / "x.tgz", 0)
    unpack(tmp_path / "x.tgz", tmp_path / "one")
    assert (tmp_path / "one").read_text() == "1"


def test_fields_keep_or_drop_paths() -> None:
    value: dict[str, object] = {"a": {"b": 1, "c": 2}, "d": [{"e": 3, "f": 4}]}
    cases = {
        "": value,
        "a.b": {"a": {"b": 1}},
        "a,d.e": {"a": {"b": 1, "c": 2}, "d": [{"e": 3}]},
        "-a.b,d": {"a": {"c": 2}},
    }
    for text, expected in cases.items():
        assert FieldFilter(text).apply(value) == expected  # pyright: ignore[reportArgumentType]  # a literal of JSON


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True), ("a=1", True), ("a==1", True), ("a=2", False), ("a!=2", True), ("b!=2", True), ("a", True),
        ("b", False), ("!b", True), ("a in (1,2)", True), ("a notin (1,2)", False), ("b notin (1)", True),
        ("a=1,c/d.e=x", True), ("a=1,b", False), ("a in (1, 2),!b", True),
    ],
)  # fmt: skip
def test_label_selectors_select_as_kubernetes_does(selector: str, expected: bool) -> None:
    assert label_selector(selector)({"a": "1", "c/d.e": "x"}) is expected


def test_other_selectors_are_refused() -> None:
    with pytest.raises(ApiError, match="unable to parse requirement"):
        label_selector("a ~ b")
    assert name_selector("metadata.name=x") == "x"
    with pytest.raises(ApiError, match="field label not supported"):
        name_selector("status.phase=Running")
