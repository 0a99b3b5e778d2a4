from __future__ import annotations

import json
import logging
from datetime import datetime

import pytest
from pydantic import SecretStr

from meta.config import DatabaseConfig, MetaConfig, NatsConfig, TelemetryConfig
from meta.telemetry.log_lines import as_text
from meta.telemetry.logs import JsonFormatter, TextFormatter
from meta.telemetry.secrets import Mask, secrets_of
from workers.log_context import LogContext, apart, context_of_attempt, log_context, logged_about
from workers.log_interceptor import context_of_message
from workers.settings import ArgoSettings
from workflows.messages import RunSnapshot, SubmitStep, TerminateStep, WaitStep
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef, RunState
from workflows.trace import span_id, trace_id

KEY = RunKey(meta_run="chain-1", step="train", attempt=2)
CAUSE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def record(message: str, *args: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("meta.test", logging.WARNING, __file__, 1, message, args, exc_info)
    made.__dict__.update(extra)
    return made


def as_json(made: logging.LogRecord, mask: Mask | None = None) -> dict[str, object]:
    line = JsonFormatter(mask or Mask()).format(made)
    assert "\n" not in line
    return json.loads(line)


def test_a_json_line_says_when_who_what_and_about_which_attempt() -> None:
    with logged_about(context_of_attempt(KEY, {}, engine="kfp")):
        found = as_json(record("retry %d\nnext line\u2028", 3))
    at = str(found.pop("time"))
    assert at.endswith("Z")
    assert datetime.fromisoformat(at).tzinfo is not None
    assert found == {
        "level": "warning",
        "logger": "meta.test",
        "message": "retry 3\nnext line\u2028",
        "run": "chain-1",
        "step": "train",
        "attempt": 2,
        "engine": "kfp",
        "trace_id": trace_id("chain-1", {}),
        "span_id": span_id("chain-1", "attempt", "train", 0, 2),
    }


def test_what_is_unknown_is_left_out() -> None:
    assert as_json(record("hello")).keys() == {"time", "level", "logger", "message"}
    assert TextFormatter(Mask()).format(record("hello")).endswith("WARNING meta.test hello")


def test_a_text_line_ends_with_what_it_is_about_before_its_traceback() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        with logged_about(LogContext(run="chain-1", step="train", attempt=2)):
            lines = TextFormatter(Mask()).format(record("it broke", error=error)).splitlines()
            found = as_json(record("it broke", error=error))
    assert lines[0].endswith("WARNING meta.test it broke [run=chain-1 step=train attempt=2]")
    assert lines[-1] == "ValueError: no such thing"
    assert str(found["exception"]).endswith("ValueError: no such thing")


def test_a_line_from_a_workflow_is_about_the_run_that_temporal_names() -> None:
    found = as_json(record("the end was not recorded", temporal_workflow={"workflow_id": "chain-1"}))
    assert found["run"] == "chain-1"


def test_secrets_of_the_configuration_are_in_no_line() -> None:
    config = MetaConfig(
        store=DatabaseConfig(url="postgresql+asyncpg://meta:pass%40word@db/meta"),
        nats=NatsConfig(url="nats://u:nats-secret@one:4222,nats://u:other-secret@two:4222"),
        telemetry=TelemetryConfig(otlp_headers={"authorization": SecretStr("Bearer abc")}),
        engines={"argo": ArgoSettings(kind=EngineKind.ARGO, url="http://argo", token=SecretStr("argo-token"))},
    )
    mask = Mask(secrets_of(config))
    secrets = ["pass%40word", "pass@word", "nats-secret", "other-secret", "Bearer abc", "argo-token"]
    try:
        raise RuntimeError(" ".join(secrets))
    except RuntimeError as error:
        made = record("cannot log in with %s", secrets, error=error)
    for line in (JsonFormatter(mask).format(made), TextFormatter(mask).format(made)):
        assert not [one for one in secrets if one in line]
        assert "***" in line
    assert mask("meta") == "meta"


def test_what_the_viewer_of_the_stack_shows_of_a_json_line_is_text() -> None:
    with logged_about(LogContext(run="chain-1")):
        line = JsonFormatter(Mask()).format(record("hello"))
    assert as_text(line).endswith("WARNING meta.test hello [run=chain-1]")
    assert as_text("{not json") == "{not json"
    assert as_text('{"time": 1}') == '{"time": 1}'
    assert as_text("plain") == "plain"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            WaitStep(
                definition_name="chain",
                key=KEY,
                ref=EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="n", uid="u"),
            ),
            context_of_attempt(KEY, CAUSE, engine="kfp"),
        ),
        (
            TerminateStep(engine="argo", key=RunKey(meta_run="chain-1", step="train"), name="n", attempt=KEY),
            context_of_attempt(KEY, CAUSE, engine="argo"),
        ),
        (
            RunSnapshot(id="chain-1", workflow="chain", bundle_digest="", state=RunState.RUNNING),
            LogContext(run="chain-1", trace_id=CAUSE["traceparent"][3:35], span_id=span_id("chain-1", "run")),
        ),
        (None, LogContext("own-flow", trace_id=CAUSE["traceparent"][3:35], span_id=span_id("own-flow", "run"))),
    ],
)
def test_an_activity_is_about_what_its_argument_names(message: object, expected: LogContext) -> None:
    run = "own-flow" if message is None else "chain-1"
    assert context_of_message(message, run, CAUSE) == expected


def test_the_trace_of_a_submit_is_its_own_word() -> None:
    message = SubmitStep.model_construct(key=KEY, trace=CAUSE)
    assert context_of_message(message, "chain-1", {}).trace_id == CAUSE["traceparent"][3:35]


def test_a_task_that_serves_many_runs_is_about_none() -> None:
    with logged_about(LogContext(run="chain-1", step="train")):
        assert apart("argo").run(log_context) == LogContext(engine="argo")
        assert log_context().run == "chain-1"
