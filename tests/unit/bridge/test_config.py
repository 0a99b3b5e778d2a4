from __future__ import annotations

from pathlib import Path

import pytest

from meta.config import BridgedPipeline, load_config
from workflows.errors import SettingsInvalid


def config(tmp_path: Path, bridge: str, nats: str = 'url = "nats://n:4222"') -> Path:
    file = tmp_path / "meta.toml"
    file.write_text(f"[nats]\n{nats}\n[triggers.bridge]\n{bridge}\n")
    return file


def test_a_name_alone_stands_for_a_workflow(tmp_path: Path) -> None:
    lines = 'pipelines = {ingest = "document-ingestion", train = {workflow = "chain", engine = "kubeflow"}}'
    bridge = load_config(config(tmp_path, lines)).triggers.bridge
    assert bridge is not None
    assert bridge.pipelines == {
        "ingest": BridgedPipeline(workflow="document-ingestion"),
        "train": BridgedPipeline(workflow="chain", engine="kubeflow"),
    }


def test_a_bridge_without_nats_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"set url in \[nats\]"):
        load_config(config(tmp_path, "", nats=""))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('subject = "ai.*"', "subject: '*'"),
        ('status = "ai.status"', "stands in it once"),
        ('status = "ai.status-{request_id}"', "stands in it once"),
        ('status = "ai.{request_id}.{request_id}"', "stands in it once"),
        ('status = "ai..{request_id}"', "no empty part"),
        ('status = "ai.pipeline.{request_id}"', "come back as requests"),
        ('queue = "a b"', "triggers.bridge.queue"),
        ('stream = "a.b"', "triggers.bridge.stream"),
        ('pipelines = {a = ""}', "triggers.bridge.pipelines.a"),
    ],
)
def test_what_cannot_work_is_refused_by_its_place(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_config(config(tmp_path, line))
    assert words in caught.value.message
