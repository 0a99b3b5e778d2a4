from __future__ import annotations

import grpc

from meta.config import MetaConfig, TelemetryConfig
from meta.stack.checks import collector as look
from tests.support.otlp import GrpcCollector
from workers.engines.base import Verdict


async def test_doctor_says_whether_the_collector_takes_traces(collector: GrpcCollector) -> None:
    assert await look(MetaConfig()) == []
    config = MetaConfig(telemetry=TelemetryConfig(otlp_endpoint=collector.endpoint))
    [found] = await look(config)
    assert found.verdict is Verdict.OK
    collector.refuse = lambda _: grpc.StatusCode.UNAUTHENTICATED
    [found] = await look(config)
    assert (found.verdict, "UNAUTHENTICATED" in found.detail) == (Verdict.FAIL, True)
    assert "otlp_headers" in found.hint
    await collector.stop()
    [found] = await look(config)
    assert found.verdict is Verdict.FAIL
    assert "otlp_endpoint" in found.hint
