"""docs/sandbox-faults.md is true: its commands run, its rules are taken, its table is that of the code."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex

import pytest
import yaml

from meta.sandbox.faults import KINDS, EngineName, FaultPlan
from meta.sandbox.faults.kinds import VERBS
from meta.sandbox.faults.rules import FaultRule
from tests.docs.pages import Snippet, prose, snippets
from tests.integration.sandbox_faults.conftest import Client
from tests.integration.sandbox_faults.support import BROKEN

PAGE = "docs/sandbox-faults.md"
COMMANDS = [command for one in snippets("console", pages=(PAGE,)) for command in one.commands]


def test_every_block_is_tested_here() -> None:
    assert {one.language for one in snippets(pages=(PAGE,))} == {"console", "json", "yaml"}
    assert {command.split()[0] for command in COMMANDS} == {"meta", "curl"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("meta")])
def test_every_flag_is_one_of_the_server(command: str) -> None:
    _, group, engine, *arguments = shlex.split(command)
    assert group == "sandbox"
    parser = argparse.ArgumentParser()
    parser.add_argument("--port")
    importlib.import_module(f"meta.sandbox.{engine}.options").add_options(parser)
    assert parser.parse_args(arguments).fault


def test_the_admin_endpoint_answers_as_the_page_asks_it(argo: Client) -> None:
    found: list[int] = []
    for command in (command for command in COMMANDS if command.startswith("curl")):
        parser = argparse.ArgumentParser()
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-X", default="GET")
        parser.add_argument("-d")
        parser.add_argument("url")
        options = parser.parse_args(shlex.split(command)[1:])
        path = options.url.removeprefix("localhost:2746")
        answer = argo.http.request(options.X, argo.url + path, body=options.d)
        assert answer.status == 200, answer.data
        found.append(len(answer.json()["rules"]))
    assert found == [2, 2, 0]


@pytest.mark.parametrize("snippet", snippets("json", pages=(PAGE,)), ids=str)
def test_every_plan_is_taken(snippet: Snippet) -> None:
    FaultPlan.model_validate(json.loads(snippet.text)).check(EngineName.ARGO)


@pytest.mark.parametrize("snippet", snippets("yaml", pages=(PAGE,)), ids=str)
def test_every_workflow_meets_its_faults(snippet: Snippet, argo: Client) -> None:
    manifest = yaml.safe_load(snippet.text)
    with pytest.raises(BROKEN):
        argo.call("POST", "/workflows/argo", {"workflow": manifest})
    shown = argo.http.request("GET", f"{argo.url}/sandbox/faults").json()["on_runs"]
    assert shown["unlucky- 0 lost-response:times=1"] == 1


def test_the_table_is_that_of_the_code() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in prose(PAGE).splitlines()]
    table = {row[0].strip("`"): row for row in rows if len(row) == 6}
    assert set(KINDS) <= set(table)
    names = {EngineName.ARGO: "Argo", EngineName.KFP: "KFP"}
    for kind, info in KINDS.items():
        engines = ", ".join(name for engine, name in names.items() if engine in info.engines)
        verb = f"`{info.default}`" if info.default else "any"
        delay = "" if info.delay is None else f"{info.delay:g} s"
        assert table[kind] == [f"`{kind}`", engines, verb, delay, info.summary, info.mirrors]


def test_every_option_and_every_verb_is_explained() -> None:
    text = prose(PAGE)
    options = {*FaultRule.model_fields, "verb", "name", "label"} - {"kind", "match"}
    assert options <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    for verbs in VERBS.values():
        assert {f"`{verb}`" for verb in verbs if verb not in ("end", "metadata")} <= set(re.findall(r"`\w+`", text))
