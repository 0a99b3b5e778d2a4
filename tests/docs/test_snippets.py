"""Every fenced block of the pages is what it says: it loads, parses, or names commands and options that exist.

The Python blocks run, against real servers: `test_python.py`. A `text` block shows what a program prints, or a drawing.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hera.workflows.models import ArtifactRepository
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

import workflows
from meta.cli.app import app
from meta.config import BridgeConfig, BridgedPipeline, MetaConfig, load_config
from tests.docs.commands import parse
from tests.docs.pages import HERE, ROOT, Snippet, backquoted, prose, read, snippets
from workers.engines.others import ENDING
from workers.engines.times import PATIENCE, times_of
from workers.settings import ArgoSettings, HttpSettings, KfpSettings, NamedStore
from workflows.bundle import build_bundle
from workflows.calls import _HEARTBEAT as HEARTBEAT  # pyright: ignore[reportPrivateUsage] -- the page names it
from workflows.messages import SUBMIT_TIMEOUT
from workflows.retry import MAX_BACKOFF, STATE_OF
from workflows.spec import load_definition
from workflows.spec.steps import Retry

LANGUAGES = {"yaml", "toml", "python", "console", "text"}
CHAIN = Path(workflows.__file__).parent / "catalog" / "hybrid-training"
COMMANDS: Mapping[str, Any] = getattr(get_command(app), "commands")  # noqa: B009 -- typer keeps click's groups private
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SERVICES = set(cast("dict[str, Any]", yaml.safe_load((ROOT / "docker-compose.yml").read_text()))["services"])


def documents(kind: str) -> list[Snippet]:
    return [one for one in snippets("yaml") if yaml.safe_load(one.text)["kind"] == kind]


def named(name: str) -> dict[str, Any]:
    """A Kubernetes object of docs/real-cluster.md."""
    found = [yaml.safe_load(one.text) for one in snippets("yaml", pages=("docs/real-cluster.md",))]
    return next(one for one in found if one["metadata"]["name"] == name)


@pytest.mark.parametrize("page", HERE)
def test_every_block_has_a_language_that_is_tested(page: str) -> None:
    assert read(page).count("```") == 2 * len(snippets(pages=(page,)))
    assert {one.language for one in snippets(pages=(page,))} <= LANGUAGES


@pytest.mark.parametrize("snippet", documents("MetaWorkflow"), ids=str)
def test_every_definition_is_valid(snippet: Snippet) -> None:
    load_definition(snippet.text, str(snippet))


def test_the_definition_of_the_readme_fits_the_manifests_of_the_catalogue(tmp_path: Path) -> None:
    (snippet,) = [one for one in documents("MetaWorkflow") if one.page == "README.md"]
    folder = tmp_path / "chain"
    shutil.copytree(CHAIN, folder)
    whole = load_definition((folder / "workflow.yaml").read_text())
    (folder / "workflow.yaml").write_text(snippet.text)
    shown = build_bundle(folder / "workflow.yaml").definition
    assert {name: step.file for name, step in shown.steps.items()} == {n: s.file for n, s in whole.steps.items()}


def test_the_artifact_repository_is_one_to_argos_own_model() -> None:
    config = named("artifact-repositories")
    repository = ArtifactRepository.model_validate(yaml.safe_load(config["data"]["default"]))
    assert repository.s3 is not None
    assert repository.s3.access_key_secret is not None
    assert repository.s3.access_key_secret.key == "accesskey"
    assert config["metadata"]["annotations"] == {"workflows.argoproj.io/default-artifact-repository": "default"}


def test_both_engines_are_given_the_same_store() -> None:
    argo = yaml.safe_load(named("artifact-repositories")["data"]["default"])["s3"]
    kfp = named("kfp-launcher")["data"]
    provider = yaml.safe_load(kfp["providers"])["s3"]["default"]
    assert provider["endpoint"] == argo["endpoint"]
    assert provider["disableSSL"] == argo["insecure"]
    assert provider["credentials"]["secretRef"] == {
        "secretName": argo["accessKeySecret"]["name"],
        "accessKeyKey": argo["accessKeySecret"]["key"],
        "secretKeyKey": argo["secretKeySecret"]["key"],
    }
    assert kfp["defaultPipelineRoot"].startswith(f"s3://{argo['bucket']}/")


def test_the_role_has_what_the_adapters_calls_need() -> None:
    rules = {rule["resources"][0]: set(rule["verbs"]) for rule in named("meta-worker")["rules"]}
    assert {"create", "get", "list", "watch", "update", "patch"} <= rules["workflows"]
    assert {"delete"} <= rules["pods"], "Argo's retry deletes the failed pods with the caller's rights"
    assert {"get"} <= rules["workflowtemplates"] & rules["pods/log"]


@pytest.mark.parametrize("snippet", snippets("toml"), ids=str)
def test_every_configuration_is_accepted(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "meta.toml"
    file.write_text(snippet.text)
    config = load_config(file)
    assert isinstance(config.engines["argo"], ArgoSettings)
    assert isinstance(config.engines["kfp"], KfpSettings)


@pytest.mark.parametrize("snippet", snippets("console"), ids=str)
def test_every_command_exists_with_its_options(snippet: Snippet) -> None:
    assert snippet.commands
    for command in snippet.commands:
        check(shlex.split(command))


@pytest.mark.parametrize("page", HERE)
def test_every_command_in_the_text_exists(page: str) -> None:
    for words in map(str.split, backquoted(page)):
        if words[0] == "make" and len(words) == 2:
            assert words[1] in TARGETS, words
        if words[0] == "meta" and len(words) > 1:
            assert words[1] in COMMANDS, words
        if words[:3] == ["docker", "compose", "up"]:
            check(words)


@pytest.mark.parametrize(
    "wrong",
    ["meta rnu chain", "meta run", "meta run chain --folow", "make dmeo", "docker compose up nothing", "curl x"],
)
def test_a_wrong_command_would_be_found(wrong: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 -- whatever refuses it
        check(wrong.split())


def check(words: list[str]) -> None:
    """Refuse a command that could not run as it stands."""
    match words:
        case ["meta", *arguments]:
            parse(arguments)
        case ["make", target]:
            assert target in TARGETS, target
        case ["docker", "compose", "up", *arguments]:
            assert {word for word in arguments if not word.startswith("--")} <= SERVICES, arguments
        case ["docker", "build", "--file", file, "--tag", _, folder]:
            assert (ROOT / file).is_file()
            assert (ROOT / folder).is_dir()
        case ["python", "-m", module, "--config", _]:
            assert importlib.util.find_spec(module) is not None, module
        case ["git", "clone", _, _] | ["cd", "meta-workflows"] | ["source", ".venv/bin/activate"]:
            pass
        case _:
            raise AssertionError(f"nothing here knows how to check {words}")


def test_the_numbers_of_the_page_on_retries_are_those_of_the_code() -> None:
    page = prose("docs/retries-and-cancellation.md")
    assert f"{Retry().backoff.total_seconds():.0f} s by default" in page
    assert f"up to {MAX_BACKOFF.total_seconds() / 60:.0f} minutes" in page
    assert f"after {HEARTBEAT.total_seconds():.0f} s without a sign of life" in page
    assert f"`settle_delay` ({HttpSettings(url='x').settle_delay:.0f} s by default)" in page
    assert Retry().strategy == "restart"
    assert "`strategy: restart` (the default)" in page
    assert Retry().attempts == 1
    what_went_wrong = page[page.index("| What went wrong |") :].partition("\n\n")[0]
    states = set(re.findall(r"\| `(\w+)` \|", what_went_wrong))
    assert states == {state.value for state in STATE_OF.values()}


def test_the_numbers_of_the_page_on_one_engine_run_are_those_of_the_code() -> None:
    page = prose("docs/exactly-one.md")
    settings = HttpSettings(url="x")
    times = times_of(settings)
    assert f"the {SUBMIT_TIMEOUT.total_seconds():.0f} s that Temporal gives one try" in page
    assert f"The defaults need {times.create + times.call + 10:.0f} s." in page
    assert f"after {ENDING:.0f} s of asking" in page
    assert PATIENCE + times.whole < SUBMIT_TIMEOUT.total_seconds(), "a lease expires before Temporal begins another try"


def test_the_page_on_configuration_has_every_key_and_its_default() -> None:
    page = prose("docs/configuration.md")
    config = MetaConfig()
    for section in ("temporal", "nats", "store", "grpc", "worker", "objects"):
        model = cast("type[BaseModel]", type(getattr(config, section)))
        for key, field in model.model_fields.items():
            row = next((line for line in page.splitlines() if f"`{section}.{key}`" in line), "")
            assert row, f"{section}.{key}"
            assert default_of(field) in row, f"{section}.{key}"
    for key, field in BridgeConfig.model_fields.items():
        row = next((line for line in page.splitlines() if f"`triggers.bridge.{key}`" in line), "")
        assert row, key
        assert default_of(field) in row.lower(), key
    for settings in (ArgoSettings, KfpSettings, NamedStore, BridgedPipeline):
        for key, field in settings.model_fields.items():
            rows = [line for line in page.splitlines() if f"`{key}`" in line]
            assert rows, key
            assert key == "kind" or any(default_of(field) in row for row in rows), key


def default_of(field: FieldInfo) -> str:
    """As the page writes it; empty when there is none worth a word."""
    default: object = field.get_default(call_default_factory=True)
    return "" if field.is_required() or not default else str(default).lower().removesuffix(".0")


def test_an_engine_can_be_configured_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    page = read("docs/real-cluster.md")
    values = {"META_ENGINES__ARGO__TOKEN": "t", "META_OBJECTS__ENDPOINT": "http://s3", "META_OBJECTS__SECRET_KEY": "s"}
    for name, value in {**values, "META_ENGINES__ARGO__KIND": "argo", "META_ENGINES__ARGO__URL": "http://a"}.items():
        monkeypatch.setenv(name, value)
        assert name not in values or name in page
    config = load_config(None)
    token = config.engines["argo"].token
    assert token is not None
    assert token.get_secret_value() == "t"
    assert config.objects.endpoint == "http://s3"
