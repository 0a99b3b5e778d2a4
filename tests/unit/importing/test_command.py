"""`meta import` as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from tests.unit.importing.support import SOURCE, create, sensor

RETRY = "retryStrategy: {steps: 3}\n"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("META_CONFIG", raising=False)
    (tmp_path / "source.yaml").write_text(SOURCE)
    (tmp_path / "sensor.yaml").write_text(sensor(create(trigger=RETRY)))
    return CliRunner()


def test_the_help_teaches_with_an_example(runner: CliRunner) -> None:
    assert "Example: meta import" in runner.invoke(app, ["import", "--help"]).output


def test_it_says_what_it_wrote_what_it_left_out_and_how_delivery_differs(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["import", "sensor.yaml", "--event-source", "source.yaml"])
    assert result.exit_code == 0, result.output
    for words in (
        "wrote on-arrival/workflow.yaml", "wrote on-arrival/ingest.yaml", "not carried over", "sensor.yaml:",
        "retryStrategy", "how delivery differs", "valid; next: meta publish on-arrival/workflow.yaml",
    ):  # fmt: skip
        assert words in result.output
    checked = runner.invoke(app, ["validate", "on-arrival/workflow.yaml"])
    assert "is valid" in checked.output
    again = runner.invoke(app, ["import", "sensor.yaml", "--event-source", "source.yaml"])
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    forced = runner.invoke(app, ["import", "sensor.yaml", "--event-source", "source.yaml", "--force", "--strict"])
    assert forced.exit_code == 1


def test_what_has_to_be_filled_in_is_no_success(runner: CliRunner) -> None:
    result = runner.invoke(app, ["import", "sensor.yaml", "--output-dir", "chain"])
    assert result.exit_code == 1
    assert "to fill in" in result.output and "not valid yet" in result.output
    assert runner.invoke(app, ["validate", "chain/workflow.yaml"]).exit_code == 2


def test_programs_get_the_same_as_json(runner: CliRunner) -> None:
    result = runner.invoke(app, ["import", "sensor.yaml", "--subject", "file=a.b", "--stream", "LAKE", "-o", "json"])
    told = json.loads(result.stdout)
    assert told["valid"] is True and told["problems"] == [] and told["fill_in"] == []
    assert [Path(one).name for one in told["written"]] == ["workflow.yaml", "ingest.yaml"]
    assert told["left_out"][0]["place"].startswith("sensor.yaml:")
    assert len(told["guarantees"]) >= 4


def test_wrong_use_is_refused(runner: CliRunner) -> None:
    assert runner.invoke(app, ["import", "nothing.yaml"]).exit_code == 2
    assert runner.invoke(app, ["import", "source.yaml"]).exit_code == 2
    assert runner.invoke(app, ["import", "sensor.yaml", "--pipeline", "x"]).exit_code == 2
