"""Where metrics go: the endpoint, and OTLP in its two forms."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import threading
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meta.config import MetricsConfig, TelemetryConfig
from meta.store import Store
from meta.telemetry.gauges import Gauges
from meta.telemetry.metrics import measured, otlp_exporter, providing
from tests.integration.metrics.collector import Collector, collector
from tests.integration.metrics.processes import scrape
from tests.stubs.server import ServedApp, ServerTls
from tests.support.certificates import Authority
from tests.support.ports import free_port
from workflows.errors import PortTaken, SettingsInvalid
from workflows.messages import RunSnapshot
from workflows.spec import load_definition

TOKEN = {"X-Token": SecretStr("secret")}


async def test_the_endpoint_answers_until_the_end_and_leaves_nothing_open() -> None:
    address = f"127.0.0.1:{free_port()}"
    threads = set(threading.enumerate())
    async with providing(TelemetryConfig(metrics=MetricsConfig(worker=address)), "worker") as provider:
        counter = provider.get_meter("test").create_counter("meta.apples", "{apple}", "Apples.")
        counter.add(2, {"kind": "red"})
        many = await asyncio.gather(*(scrape(address) for _ in range(8)))
        for found in many:
            [apples] = [one for one in found["meta_apples"].samples if one.name == "meta_apples_total"]
            assert (apples.value, apples.labels) == (2, {"kind": "red"})
            assert found["target_info"].samples[0].labels["meta_process"] == "worker"
            assert found["target_info"].samples[0].labels["service_name"] == "meta-workflows"
    assert await scrape(address) == {}, "nobody listens any more"
    left = [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")]
    assert left == []
    gc.collect()


async def test_a_port_that_is_taken_is_told_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PortTaken, match=address) as caught:
            async with measured(TelemetryConfig(metrics=MetricsConfig(service=address)), "service"):
                pass
    assert "telemetry.metrics.service in meta.toml" in (caught.value.hint or "")


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"telemetry\.metrics\.worker"):
        async with measured(TelemetryConfig(metrics=MetricsConfig(worker=address)), "worker"):
            pass


async def test_otlp_without_a_collector_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="no collector"):
        async with measured(TelemetryConfig(metrics=MetricsConfig(otlp=True)), "worker"):
            pass


async def test_without_settings_nothing_is_counted() -> None:
    async with measured(TelemetryConfig(metrics=MetricsConfig(worker="127.0.0.1:1")), "service") as runtime:
        assert runtime is None


async def test_over_grpc_and_tls_what_was_counted_last_is_sent_at_the_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with collector(authority.sign("collector", "127.0.0.1")) as sink:
        telemetry = TelemetryConfig(
            otlp_endpoint=sink.endpoint, otlp_headers=TOKEN, otlp_ca_file=authority.file,
            metrics=MetricsConfig(otlp=True, interval=600), resource={"deployment.environment.name": "test"},
        )  # fmt: skip
        async with providing(telemetry, "service") as provider:
            provider.get_meter("test").create_counter("meta.apples").add(1)
    assert sink.names == {"service": {"meta.apples"}}
    assert sink.headers["x-token"] == "secret"
    assert sink.resources[0]["deployment.environment.name"] == "test"


async def test_over_http_and_tls_it_is_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.sign("collector", "127.0.0.1")
    sink = Collector()

    async def take(request: Request) -> Response:
        sink.headers = dict(request.headers)
        sink.take(messages.ExportMetricsServiceRequest.FromString(gzip.decompress(await request.body())))
        answer = messages.ExportMetricsServiceResponse().SerializeToString()
        return Response(answer, media_type="application/x-protobuf")

    app = Starlette(routes=[Route("/v1/metrics", take, methods=["POST"])])
    served = ServedApp(app, tls=ServerTls(certificate.cert_file, certificate.key_file))
    await served.start()
    try:
        telemetry = TelemetryConfig(
            otlp_endpoint=served.url, otlp_protocol="http", otlp_headers=TOKEN, otlp_ca_file=authority.file,
            metrics=MetricsConfig(otlp=True, interval=600),
        )  # fmt: skip
        async with providing(telemetry, "worker") as provider:
            provider.get_meter("test").create_counter("meta.apples").add(1)
    finally:
        await served.stop()
    assert sink.names == {"worker": {"meta.apples"}}
    assert sink.headers["x-token"] == "secret"


async def test_a_file_of_certificates_that_is_missing_is_told(tmp_path: Path) -> None:
    telemetry = TelemetryConfig(otlp_endpoint="https://127.0.0.1:1", otlp_ca_file=tmp_path / "none.pem")
    with pytest.raises(SettingsInvalid, match="otlp_ca_file"):
        otlp_exporter(telemetry)


async def test_a_collector_that_is_away_holds_no_process_up() -> None:
    telemetry = TelemetryConfig(
        otlp_endpoint=f"http://127.0.0.1:{free_port()}", metrics=MetricsConfig(otlp=True, interval=600)
    )
    loop = asyncio.get_running_loop()
    async with providing(telemetry, "worker") as provider:
        provider.get_meter("test").create_counter("meta.apples").add(1)
        began = loop.time()
    assert loop.time() - began < 8


async def test_gauges_are_right_at_the_first_look_of_a_new_process(tmp_path: Path) -> None:
    definition = load_definition(
        "apiVersion: meta/v1\nkind: MetaWorkflow\nmetadata: {name: chain}\nsteps: {a: {argo: {template: t}}}\n"
    )
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", outgoing=True) as store:
        for number in (1, 2):
            run = RunSnapshot(id=f"chain-{number}", workflow="chain", bundle_digest="b", request_id=str(number))
            await store.runs.create(run, "i", definition)
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        gauges = Gauges(store, nats=True, every=60)
        seen = await gauges.look()
        assert (dict(seen.running), seen.workers) == ({"chain": 2}, 0)
        assert seen.outbox is not None
        assert seen.outbox.count == 2
        assert (await Gauges(store, nats=False, every=60).look()).outbox is None
