"""The pages on use cases and on the catalogue: what they show is what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from meta.cli.given import Given
from meta.cli.shipped import catalog
from meta.config import load_config
from meta.stack.config_file import USE_CASES
from tests.docs.commands import parse
from tests.docs.pages import read, snippets
from workflows.bundle import build_bundle
from workflows.errors import SettingsInvalid, UseCaseUnsettled
from workflows.spec import load_definition
from workflows.use_cases import UseCases

PAGE = ("docs/use-cases.md",)
CATALOGUE = ("docs/catalogue.md",)
COMMANDS = [command for one in snippets("console", pages=(*PAGE, *CATALOGUE)) for command in one.commands]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (table,) = snippets("toml", pages=PAGE)
    found = tmp_path / "meta.toml"
    found.write_text(table.text)
    return found


def settle(file: Path) -> dict[str, str]:
    (example,) = snippets("yaml", pages=PAGE)
    definition = load_definition(example.text)
    return {name: step.engine for name, step in load_config(file).routing.settle(definition).definition.steps.items()}


def test_the_example_moves_with_one_row_of_the_table_as_the_page_says(file: Path) -> None:
    assert settle(file) == {"ingest": "argo", "evaluate": "kfp"}
    file.write_text(file.read_text().replace('model-evaluation = "kfp"', 'model-evaluation = "argo"'))
    assert settle(file) == {"ingest": "argo", "evaluate": "argo"}


def test_the_table_of_the_page_is_the_one_that_the_embedded_stack_writes(file: Path) -> None:
    assert load_config(file).use_cases == USE_CASES
    (shown,) = (one.text for one in snippets("text", pages=PAGE) if one.text.startswith("use case"))
    assert dict(line.split() for line in shown.splitlines()[1:]) == USE_CASES


def test_the_variable_of_the_page_moves_the_row(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = (one for one in COMMANDS if one.startswith("META_USE_CASES__"))
    name, _, engine = command.split()[0].partition("=")
    monkeypatch.setenv(name, engine)
    assert settle(file)["evaluate"] == "argo"


def test_the_messages_of_the_page_are_those_of_the_code(file: Path) -> None:
    text = read(PAGE[0])
    config = load_config(file)
    (example,) = snippets("yaml", pages=PAGE)
    document = yaml.safe_load(example.text)
    document["steps"]["evaluate"] = {"useCase": "judging", "kfp": {"pipeline": "evaluate"}}
    definition = load_definition(yaml.safe_dump(document))
    for table, engines in (
        ({"document-ingestion": "argo"}, config.routing.engines),
        ({"document-ingestion": "argo", "judging": "kfp-old"}, config.routing.engines),
        ({"document-ingestion": "argo", "judging": "argo"}, config.routing.engines),
    ):
        with pytest.raises(UseCaseUnsettled) as caught:
            UseCases(table, engines).settle(definition)
        (row,) = (one for one in re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE) if one in caught.value.message)
        assert row
    file.write_text(file.read_text().replace('model-evaluation = "kfp"', 'model-evaluation = "kpf"'))
    with pytest.raises(SettingsInvalid) as refused:
        load_config(file)
    assert any(one.text.strip() in refused.value.message for one in snippets("text", pages=PAGE))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_a_chain_of_the_catalogue_with_inputs_that_it_has(command: str) -> None:
    words = [word for word in shlex.split(command) if "META_" not in word]
    assert words.pop(0) == "meta"
    parse(words)
    if words[0] == "run":
        (chain,) = (one for one in catalog() if one.name == words[1])
        Given([words[at + 1] for at, word in enumerate(words) if word == "-i"]).inputs(
            build_bundle(chain.file).definition
        )


def test_the_page_shows_every_chain_with_outputs_that_it_has() -> None:
    sections = read(CATALOGUE[0]).split("\n## ")
    for chain in catalog():
        section = next(one for one in sections if one.startswith(f"{chain.name}\n"))
        shown = re.findall(r"^(\w+) = ", section, re.MULTILINE)
        assert shown
        assert set(shown) <= set(build_bundle(chain.file).definition.outputs)
        assert f"meta run {chain.name}" in section
