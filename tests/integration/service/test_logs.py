"""What lines of the log are about, in the service and in workers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from meta.api.starter import Starter
from meta.api.temporal import TemporalRuns
from meta.telemetry.logs import JsonFormatter
from meta.telemetry.secrets import Mask
from tests.integration.service.servers import Rig
from tests.integration.service.test_process import command, serve_once
from tests.support.ports import free_port
from workers.engines.base import Submission
from workers.log_interceptor import LogInterceptor
from workers.runtime import workflow_runner
from workflows.bundle import build_bundle
from workflows.errors import NotFound
from workflows.meta_run import MetaRun
from workflows.outcome import EngineRunRef
from workflows.trace import span_id

_SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
CAUSE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Lines(logging.Handler):
    """Keeps what is logged, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(Mask()))
        self.said = list[dict[str, object]]()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(json.loads(self.format(record)))

    def having(self, message: str) -> list[dict[str, object]]:
        return [line for line in self.said if message in str(line["message"])]


@pytest.fixture
def lines() -> Generator[Lines]:
    loggers, handler = [logging.getLogger(name) for name in ("tests.said", "temporalio.activity")], Lines()
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


async def test_what_an_activity_logs_is_about_its_attempt_in_the_trace_of_the_runs_cause(
    rig: Rig, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, wait = rig.engine.submit, rig.engine.wait

    async def told_submit(submission: Submission) -> EngineRunRef:
        logging.getLogger("tests.said").warning("submitting")
        return await submit(submission)

    async def told_wait(ref: EngineRunRef, alive: object) -> object:
        logging.getLogger("tests.said").warning("waiting")
        return await wait(ref, alive)  # pyright: ignore[reportArgumentType]

    rig.engine.unavailable = 1
    monkeypatch.setattr(rig.engine, "submit", told_submit)
    monkeypatch.setattr(rig.engine, "wait", told_wait)
    temporal = await TemporalRuns.open(rig.config.temporal.address, rig.config.temporal.namespace, "")
    bundle = build_bundle(rig.chain())
    await rig.store.bundles.put(bundle)
    started = await Starter(rig.store, temporal).start(
        bundle_digest=bundle.digest, workflow="", inputs={}, request_id="", trigger="api", trace=CAUSE
    )
    async with rig.client() as client, asyncio.timeout(30):
        await client.wait(started.run_id)
    for message, activity in (("submitting", "submit"), ("waiting", "wait")):
        first, *_, second = lines.having(message)
        assert [first["step"], second["step"]] == ["prepare", "train"]
        for line in (first, second):
            assert (line["run"], line["attempt"], line["engine"]) == (started.run_id, 1, "argo")
            assert line["activity"] == activity
            # the wait's argument has no trace: the workflow tells it beside
            assert line["trace_id"] == CAUSE["traceparent"][3:35]
            assert line["span_id"] == span_id(started.run_id, "attempt", line["step"], 0, 1)
    [failure] = lines.having("Completing activity as failed")  # by Temporal, when the activity has ended
    assert (failure["step"], failure["attempt"], failure["activity"]) == ("prepare", 1, "submit")
    assert "503 from the engine" in str(failure["exception"])
    # runs from before the header replay with it, and those with it without
    history = await rig.temporal.get_workflow_handle(started.run_id).fetch_history()
    scheduled = [e.activity_task_scheduled_event_attributes for e in history.events if e.event_type == _SCHEDULED]
    assert scheduled
    assert all("traceparent" in one.header.fields for one in scheduled)
    for interceptors in ([], [LogInterceptor()]):
        await Replayer(
            workflows=[MetaRun],
            data_converter=pydantic_data_converter,
            workflow_runner=workflow_runner(),
            interceptors=interceptors,
        ).replay_workflow(history)


async def test_what_a_call_logs_is_about_the_run_that_it_names(
    rig: Rig, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = rig.store.runs.get

    async def told_get(run_id: str) -> object:
        logging.getLogger("tests.said").warning("reading")
        return await get(run_id)

    monkeypatch.setattr(rig.store.runs, "get", told_get)
    async with rig.client() as client:
        for name in ("chain-1", "chain-2"):
            with pytest.raises(NotFound):
                await client.get(name)
    assert [line["run"] for line in lines.having("reading")] == ["chain-1", "chain-2"]


async def test_a_process_writes_json_without_secrets_where_the_configuration_says_so(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    arguments = command(tmp_path, address)
    file = tmp_path / "meta.toml"
    text = file.read_text().replace('url = "nats://127.0.0.1:1"', 'url = "nats://me:nats-secret@127.0.0.1:1"')
    file.write_text(f'{text}[telemetry.logs]\nformat = "json"\nlevel = "debug"\n')
    with (tmp_path / "out").open("wb") as out, (tmp_path / "log").open("wb") as log:
        await serve_once(arguments, address, stdout=out, stderr=log)
    assert (tmp_path / "out").read_text() == ""
    written = (tmp_path / "log").read_text()
    assert "nats-secret" not in written
    said = [json.loads(line) for line in written.splitlines()]
    assert f"serving gRPC on {address}" in [line["message"] for line in said]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in said)
