from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from meta.config import MetaConfig, MetricsConfig, TelemetryConfig, load_config
from meta.processes import start_mark
from meta.stack.addresses import Addresses
from meta.stack.checks import Verdict, metrics
from meta.stack.config_file import render, write_config
from meta.stack.credentials import Credentials
from meta.stack.files import write_atomic
from meta.stack.leftovers import is_alive, mark
from meta.stack.logs import KEPT, Logs
from meta.stack.names import PartName
from meta.stack.options import StackOptions
from meta.stack.parts import NEEDS, wanted
from meta.stack.state import ProcessMark
from meta.stack.supervisor import exit_words
from workflows.errors import DataDirBroken

_PARTS = ("temporal", "temporal_ui", "nats", "s3", "grpc", "argo", "kfp", "kfp_metadata")
_METRICS = ("service_metrics", "worker_metrics")


def addresses(folder: Path, **given: str) -> Addresses:
    empty = dict.fromkeys((*_PARTS, *_METRICS), "")
    return Addresses(**{**empty, **given}, data_dir=str(folder), config=str(folder / "meta.toml"))


def test_the_configuration_is_readable_by_its_owner_alone_and_understood(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and ü'
    folder.mkdir()
    where = addresses(
        folder, temporal="h:1", temporal_ui="http://h:2", nats="nats://h:3", s3="http://h:4", grpc="h:5",
        argo="http://h:6", kfp="http://h:7", kfp_metadata="h:8", service_metrics="h:9", worker_metrics="h:10",
    )  # fmt: skip
    write_config(where, Credentials.of(folder))
    config = load_config(folder / "meta.toml")
    assert config.temporal.ui_url == "http://h:2"
    assert config.grpc.address == "h:5"
    assert (config.telemetry.metrics.service, config.telemetry.metrics.worker) == ("h:9", "h:10")
    assert config.store.url == f"sqlite+aiosqlite:///{folder}/store.db"
    assert {name: settings.url for name, settings in config.engines.items()} == {
        "argo": "http://h:6",
        "kfp": "http://h:7",
    }
    assert stat.S_IMODE((folder / "meta.toml").stat().st_mode) == 0o600


def test_the_doctor_says_where_metrics_are() -> None:
    assert metrics(MetaConfig()).verdict is Verdict.SKIP
    where = MetricsConfig(service="h:9", worker="h:10", otlp=True)
    found = metrics(MetaConfig(telemetry=TelemetryConfig(metrics=where, otlp_endpoint="http://c:4317")))
    assert found.verdict is Verdict.OK
    assert found.detail == "service at http://h:9/metrics, worker at http://h:10/metrics, by OTLP to http://c:4317"


def test_parts_that_do_not_run_have_no_section(tmp_path: Path) -> None:
    text = render(addresses(tmp_path, nats="nats://h:3"), Credentials("a", "b", "c"))
    assert set(tomllib.loads(text)) == {"nats", "store"}


def test_keys_are_made_once_and_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    first = Credentials.of(tmp_path)
    assert Credentials.of(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    assert Credentials.of(tmp_path / "other") != first
    (tmp_path / "credentials.json").write_text("{}")
    with pytest.raises(DataDirBroken, match=r"credentials\.json"):
        Credentials.of(tmp_path)


def test_every_part_comes_after_its_needs() -> None:
    order = wanted(StackOptions())
    assert set(order) == set(PartName)
    for name in order:
        assert all(order.index(need) < order.index(name) for need in NEEDS[name])


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, "old")
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(OSError, match="no room"):
        write_atomic(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def _full(_self: Path, _target: Path) -> Path:
    raise OSError("no room")


def test_logs_turn_over_at_a_start_and_old_ones_go(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    for number in range(KEPT + 3):
        logs.turn_over("nats")
        with logs.open("nats") as stream:
            stream.write(f"{number}\n".encode())
    assert logs.tail("nats") == str(KEPT + 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nats.log", "nats.log.1", "nats.log.2", "nats.log.3"]
    assert (tmp_path / "nats.log.3").read_text() == f"{KEPT - 1}\n"


def test_the_last_lines_of_a_json_log_are_shown_as_text(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with logs.open("worker") as stream:
        stream.write(b"from the interpreter\n")
        stream.write(b'{"time": "T", "level": "error", "logger": "meta", "message": "no", "exception": "a\\nb"}\n')
    assert logs.tail("worker").splitlines() == ["from the interpreter", "T ERROR meta no", "a", "b"]
    assert logs.tail("worker", lines=2).splitlines() == ["a", "b"]


def test_a_log_that_grows_too_large_keeps_its_newer_half_under_its_writers_hands(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    with logs.open("nats") as writer:
        for number in range(1000):
            writer.write(f"line {number}\n".encode())
        writer.flush()
        logs.bound(limit=4000)
        writer.write(b"the last\n")
    text = logs.file("nats").read_text()
    assert len(text) <= 2100
    assert text.startswith("line "), "no half line at the beginning"
    assert text.endswith("line 999\nthe last\n")


def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    me = mark(os.getpid())
    assert is_alive(me)
    assert not is_alive(ProcessMark(pid=me.pid, started="1"))
    assert not is_alive(None)
    assert start_mark(2**30) == ""


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended with exit code 0"), (3, "ended with exit code 3"), (137, "was killed by SIGKILL"),
     (-15, "was killed by SIGTERM"), (250, "ended with exit code 250")],
)  # fmt: skip
def test_exit_codes_are_put_into_words(code: int, words: str) -> None:
    assert exit_words(code) == words
