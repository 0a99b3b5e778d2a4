from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from tests.integration.service.servers import CHAIN, write_chain

COMMANDS = [
    "run", "get", "trace", "list", "watch", "cancel", "logs", "publish", "workflows", "validate", "catalog", "schema",
    "engines", "compile", "orphans", "triggers", "delete", "events", "events show", "events replay", "events discard",
]  # fmt: skip


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.chdir(tmp_path)  # no meta.toml of the checkout
    monkeypatch.delenv("META_CONFIG", raising=False)
    return CliRunner()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_teaches_with_an_example(runner: CliRunner, command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: meta {command}" in result.output
    assert "--output" in result.output


def test_the_exit_codes_are_documented(runner: CliRunner) -> None:
    output = " ".join(runner.invoke(app, ["--help"]).output.split())
    for words in ("2 wrong input", "3 the service cannot be reached", "130 interrupted"):
        assert words in output


def test_validate_says_that_a_definition_is_valid(runner: CliRunner, tmp_path: Path) -> None:
    file = write_chain(tmp_path)
    assert "chain.yaml is valid: chain, 2 steps" in runner.invoke(app, ["validate", str(file)]).output
    result = runner.invoke(app, ["validate", str(file), "--output", "json"])
    assert (json.loads(result.stdout), result.exit_code) == ({"valid": True, "problems": []}, 0)


def test_validate_names_every_problem_with_its_place(runner: CliRunner, tmp_path: Path) -> None:
    file = write_chain(
        tmp_path, CHAIN.replace("needs: [prepare]", "needs: [prepair]").replace("inputs.rate", "inputs.rat")
    )
    result = runner.invoke(app, ["validate", str(file)])
    assert result.exit_code == 2
    assert "prepair" in result.stderr
    assert "did you mean 'prepare'?" in result.stderr
    assert f"{file}:12:" in result.stderr.replace("\n", "")
    result = runner.invoke(app, ["validate", str(file), "-o", "json"])
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["problems"]
    assert len(problems) >= 2
    assert {"message", "file", "line", "column", "path", "hint"} == set(problems[0])


def test_a_missing_file_is_refused(runner: CliRunner) -> None:
    result = runner.invoke(app, ["validate", "nothing.yaml"])
    assert result.exit_code == 2
    assert "nothing.yaml" in result.stderr


def test_the_catalogue_lists_chains_with_descriptions(runner: CliRunner) -> None:
    result = runner.invoke(app, ["catalog", "--output", "json"])
    shipped = {one["name"]: one for one in json.loads(result.stdout)}
    assert shipped["hybrid-training"]["description"]
    assert Path(shipped["hybrid-training"]["file"]).is_file()
    assert "hybrid-training" in runner.invoke(app, ["catalog"]).stdout


def test_the_schema_is_printed_for_editors(runner: CliRunner) -> None:
    for output in ([], ["--output", "text"]):
        schema = json.loads(runner.invoke(app, ["schema", *output]).stdout)
        assert {"apiVersion", "metadata", "steps"} <= set(schema["properties"])


@pytest.mark.parametrize(
    "command",
    [
        ["list"], ["get", "x"], ["trace", "x"], ["run", "chain"], ["workflows"], ["engines"], ["cancel", "x"],
        ["events"],
        ["events", "replay", "ev-1"], ["triggers"], ["delete", "x"],
    ],
)  # fmt: skip
def test_a_service_that_is_not_there_is_said_with_exit_code_3(
    runner: CliRunner, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meta.cli.common.PATIENCE_S", 0.0)
    result = runner.invoke(app, ["--address", "127.0.0.1:1", *command])
    assert result.exit_code == 3
    assert "the service does not answer" in result.stderr
    assert "meta up" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    [["replay"], ["replay", "ev-1", "--all"], ["replay", "--all", "-o", "json"], ["replay", "--all", "-w", "chain"]],
)
def test_a_replay_that_is_not_clear_is_refused_before_anything_is_asked(runner: CliRunner, command: list[str]) -> None:
    result = runner.invoke(app, ["--address", "127.0.0.1:1", "events", *command])
    assert result.exit_code == 2
    assert "error: " in result.stderr


def test_a_configuration_that_is_not_there_is_named(runner: CliRunner) -> None:
    result = runner.invoke(app, ["--config", "nothing.toml", "list"])
    assert result.exit_code == 2
    assert "no configuration at nothing.toml" in result.stderr


def test_the_address_comes_from_the_configuration(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meta.cli.common import Globals

    (tmp_path / "meta.toml").write_text('[grpc]\naddress = "there:7"\n')
    assert Globals().client().address == "there:7"
    assert Globals(address="here:8").client().address == "here:8"
    monkeypatch.setenv("META_GRPC__ADDRESS", "env:9")
    assert Globals().client().address == "env:9"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "rate"], "'rate' is not key=value"),
        (["-i", "rate=fast"], "-i rate: expected a number"),
        (["--inputs", "nothing.json"], "nothing.json"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused_before_anything_is_sent(
    runner: CliRunner, tmp_path: Path, arguments: list[str], words: str
) -> None:
    file = write_chain(tmp_path)
    result = runner.invoke(app, ["--address", "127.0.0.1:1", "run", str(file), *arguments])
    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", "")


def test_pairs_win_over_the_file_and_keep_their_types(tmp_path: Path) -> None:
    from meta.cli.given import Given
    from workflows.bundle import build_bundle

    definition = build_bundle(write_chain(tmp_path)).definition
    (tmp_path / "inputs.yaml").write_text("rate: 1\nnote: from the file\n")
    given = Given(["rate=2", "note=7", "other=[1]"], tmp_path / "inputs.yaml").inputs(definition)
    assert given == {"rate": 2, "note": "7", "other": [1]}


def test_the_module_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meta", "catalog", "-o", "json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "hybrid-training" in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "meta", "nonsense"], capture_output=True, cwd=tmp_path, check=False)
    assert wrong.returncode == 2


def test_another_package_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "__init__.py").write_text("raise SystemExit('foreign code ran')\n")
    done = subprocess.run(
        [sys.executable, "-m", "meta", "catalog"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode != 0
    assert str(tmp_path / "workflows") in done.stderr
    assert "foreign code ran" not in done.stderr


def test_ctrl_c_leaves_with_130_and_no_traceback(tmp_path: Path) -> None:
    """While it waits for a service that accepts connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-m", "meta", "--address", f"127.0.0.1:{silent.getsockname()[1]}", "list"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        silent.settimeout(30)
        connection, _ = silent.accept()
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in errors
