"""`[use_cases]` of meta.toml, and the same in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from meta.config import load_config
from workflows.errors import SettingsInvalid
from workflows.outcome import EngineKind

FILE = """
[engines.argo]
kind = "argo"
url = "http://argo"

[engines.kfp]
kind = "kfp"
url = "http://kfp"

[use_cases]
model-evaluation = "kfp"
batch-inference = "argo"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "meta.toml"
    found.write_text(FILE)
    return found


def test_the_table_comes_with_the_kind_of_every_engine(file: Path) -> None:
    routing = load_config(file).routing
    assert routing.table == {"model-evaluation": "kfp", "batch-inference": "argo"}
    assert routing.engines == {"argo": EngineKind.ARGO, "kfp": EngineKind.KFP}


def test_a_variable_moves_one_row_and_leaves_the_others(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_USE_CASES__MODEL_EVALUATION", "argo")
    assert load_config(file).use_cases == {"model-evaluation": "argo", "batch-inference": "argo"}


def test_a_variable_can_hold_the_rows_as_json(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_USE_CASES", '{"model-evaluation": "argo", "ingestion": "argo"}')
    assert load_config(file).use_cases == {
        "model-evaluation": "argo", "batch-inference": "argo", "ingestion": "argo",
    }  # fmt: skip


def test_an_engine_that_is_not_configured_is_refused_with_the_row(file: Path) -> None:
    file.write_text(FILE.replace('model-evaluation = "kfp"', 'model-evaluation = "kpf"'))
    with pytest.raises(SettingsInvalid, match=r"\[use_cases\] model-evaluation: no engine 'kpf'.*did you mean 'kfp'"):
        load_config(file)


def test_an_engine_that_a_variable_names_is_refused_with_the_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("META_USE_CASES__MODEL_EVALUATION", "spark")
    with pytest.raises(
        SettingsInvalid, match=r"META_USE_CASES__MODEL_EVALUATION: no engine 'spark'.*engines: argo, kfp"
    ):
        load_config(file)


def test_a_name_that_no_step_could_write_is_refused(file: Path) -> None:
    file.write_text(FILE + '"Model Evaluation" = "kfp"\n')
    with pytest.raises(SettingsInvalid, match=r"use_cases\.Model Evaluation"):
        load_config(file)
