"""How our server processes write their logs: lines for people, or one JSON object a line for machines.

Both say what a line is about where that is known (`workers.log_context`; within a workflow what Temporal adds).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

from temporalio import activity, workflow
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from meta.config import LogsConfig
from meta.telemetry.secrets import Mask
from workers.log_context import LogContext, log_context

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
OURS = ("meta", "workers", "workflows", "temporalio.workflow", "temporalio.activity")
"""Loggers that the configured level is for; libraries never tell more than INFO, which may be secrets (headers)."""

_QUIET = ("alembic", "openlineage")  # libraries whose INFO tells nobody anything

log = logging.getLogger("meta")


class TextFormatter(logging.Formatter):
    """`2026-11-27 12:00:00,123 INFO meta.service serving [run=chain-1 step=train attempt=2]`."""

    def __init__(self, mask: Mask) -> None:
        super().__init__(TEXT)
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        about = context_of(record)
        words = {"run": about.run, "step": about.step, "attempt": about.attempt, "activity": about.activity}
        known = " ".join(f"{name}={value}" for name, value in words.items() if value)
        return super().formatMessage(record) + (f" [{known}]" if known else "")


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII, so that nothing in a message ends the line before its time.

    Keys: time (RFC 3339, UTC), level, logger, message; where they are known run, step, attempt, engine, activity,
    trace_id, span_id; exception (the traceback, with line ends in it).
    """

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        about = context_of(record)
        found: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._mask(record.getMessage()),
        }
        found["time"] = str(found["time"]).replace("+00:00", "Z")
        known = {
            "run": about.run, "step": about.step, "attempt": about.attempt, "engine": about.engine,
            "activity": about.activity, "trace_id": about.trace_id, "span_id": about.span_id,
        }  # fmt: skip
        found |= {name: value for name, value in known.items() if value}
        if record.exc_info and record.exc_info[0] is not None:
            found["exception"] = self._mask(self.formatException(record.exc_info))
        return json.dumps(found)


def context_of(record: logging.LogRecord) -> LogContext:
    """What a record is about: asked in the thread, and the task, that writes it."""
    about = log_context()
    if about.run:
        return about
    for name in ("temporal_workflow", "temporal_activity"):  # Temporal's own, of lines beside our interceptors
        if isinstance(extra := record.__dict__.get(name), dict):
            return LogContext(run=str(cast("dict[str, object]", extra).get("workflow_id", "")))
    return about


def setup_logs(config: LogsConfig | None = None, secrets: Iterable[str] = ()) -> None:
    """Write logs to standard error, in place of what was set up before.

    Args:
        config: None before it has been read: text.
        secrets: that no line may have; see `meta.telemetry.secrets`.
    """
    config, mask = config or LogsConfig(), Mask(secrets)
    level = logging.getLevelNamesMapping()[config.level.upper()]
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(mask) if config.format == "json" else TextFormatter(mask))
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    threading.excepthook = _uncaught
    # Temporal would add these to the text of each message; the formatters take them from the record.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False


def core_logging() -> LoggingConfig:
    """Lets the log of Temporal's core, which is Rust, go through ours; by itself it would write to standard output."""
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"), append_target_to_name=False, prepend_target_on_message=False
    )
    return LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)


def forward_core_logs() -> None:
    """To be called before the process makes its first Temporal client."""
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=core_logging())), error_if_already_set=False)


def _uncaught(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and what.exc_type is not SystemExit:
        name = what.thread.name if what.thread is not None else "unknown"
        log.error("thread %s died", name, exc_info=(what.exc_type, what.exc_value, what.exc_traceback))
