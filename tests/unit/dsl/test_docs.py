"""Every block of docs/python-definitions.md is what it says."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import meta.dsl
import workflows.dsl
from meta.dsl import MetaWorkflow
from tests.docs.commands import parse
from tests.docs.pages import read, snippets
from workflows.dsl import compile_main
from workflows.spec.loading import parse_value
from workflows.spec.locate import NOWHERE
from workflows.spec.writing import write_definition

PAGE = "docs/python-definitions.md"
BLOCKS = [one.text for one in snippets("python", pages=(PAGE,))]


def flow_of(source: str) -> MetaWorkflow:
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(source, "snippet", "exec", dont_inherit=True), names)
    sys.modules.pop("snippet", None)
    return names["flow"]


def test_the_first_definition_is_the_yaml_that_the_page_shows() -> None:
    (shown,) = [one.text for one in snippets("yaml", pages=(PAGE,))]
    head, _, _ = shown.partition("\n")
    assert write_definition(flow_of(BLOCKS[0]).build(), [head.removeprefix("# ")]) == shown


@pytest.mark.parametrize("source", BLOCKS[1:])
def test_the_other_definitions_have_a_valid_shape(source: str) -> None:
    parsed = parse_value(flow_of(source).data(), NOWHERE)
    assert parsed.problems == ()


@pytest.mark.parametrize("line", [line for one in snippets("console", pages=(PAGE,)) for line in one.commands])
def test_every_command_of_the_page_is_one(line: str) -> None:
    parse(shlex.split(line.removeprefix("meta ")))


def test_the_message_of_the_page_is_what_python_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "chain.py").write_text(BLOCKS[1] + "if evaluate.outputs.accuracy > 1:\n    pass\n")
    said = str(compile_main.main(tmp_path / "chain.py", "")["error"]).replace("evaluate", "train", 1)
    shown = next(one.text for one in snippets("text", pages=(PAGE,)) if "TypeError" in one.text)
    start = re.sub(r"\s+", " ", shown).partition("TypeError: ")[2].removesuffix(" ... ").rstrip(" .")
    assert said.removeprefix("TypeError: ").startswith(start)


def test_both_modules_have_the_same_names_and_the_page_shows_them() -> None:
    assert meta.dsl.__all__ == workflows.dsl.__all__ == sorted(meta.dsl.__all__)
    for name in meta.dsl.__all__:
        assert getattr(meta.dsl, name) is getattr(workflows.dsl, name)
    unseen = {"Artifact", "Artifacts", "Runs", "Step"}  # what the calls give, never written by a user
    page = read(PAGE)
    assert [n for n in meta.dsl.__all__ if n not in unseen and not re.search(rf"\b{n}\b", page)] == []
    assert all(ast.parse(block) for block in BLOCKS)
