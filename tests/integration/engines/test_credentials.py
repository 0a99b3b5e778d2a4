"""Who we are to an engine and how we know it, against servers that look: tokens, cookies, TLS, mutual TLS."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.engines.submissions import SETTLE, TIMEOUT, argo_submission, kfp_submission
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from tests.stubs.server import ServerTls
from tests.support.certificates import Authority
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine
from workers.engines.registry import build_engines
from workers.settings import KFP_TOKEN_ENVIRONMENT, ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineUnavailable, SettingsInvalid
from workflows.outcome import EngineKind, EngineRunRef

KINDS = ("argo", "kfp")
Stub = ArgoStub | KfpStub


@asynccontextmanager
async def served(kind: str, tls: ServerTls | None = None) -> AsyncGenerator[Stub]:
    async with ArgoStub(duration=None, tls=tls) if kind == "argo" else KfpStub(duration=None, tls=tls) as stub:
        yield stub


@asynccontextmanager
async def engine_at(kind: str, url: str, **settings: object) -> AsyncGenerator[Engine]:
    values = {"url": url, "request_timeout": TIMEOUT, "settle_delay": SETTLE, **settings}
    model = ArgoSettings if kind == "argo" else KfpSettings
    engine = build_engines({"it": model.model_validate(values)}, ArtifactStore(StoreSettings()))["it"]
    try:
        yield engine
    finally:
        await engine.close()


async def submit(engine: Engine) -> EngineRunRef:
    if engine.kind is EngineKind.ARGO:
        return await engine.submit(argo_submission())
    return await engine.submit(kfp_submission(package(pipeline_spec())))


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_tls(ca: Authority, *hosts: str, client_ca: Authority | None = None) -> ServerTls:
    made = ca.sign("server", *(hosts or ("127.0.0.1",)))
    return ServerTls(made.cert_file, made.key_file, client_ca.file if client_ca else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_is_submitted_over_tls_that_the_ca_file_vouches_for(kind: str, ca: Authority) -> None:
    async with served(kind, server_tls(ca)) as stub, engine_at(kind, stub.url, ca_file=ca.file) as engine:
        assert stub.url.startswith("https://")
        await submit(engine)
        assert (await engine.health()).ok


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_of_an_unknown_ca_is_not_spoken_to_unless_that_is_asked_for(
    kind: str, ca: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with served(kind, server_tls(ca)) as stub:
        async with engine_at(kind, stub.url, ca_file=stranger.file) as engine:
            with pytest.raises(EngineUnavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await submit(engine)
            assert "ca_file" in caught.value.hint
            assert not (await engine.health()).ok
        assert not stub.requests
        async with engine_at(kind, stub.url, verify_tls=False) as engine:
            await submit(engine)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_certificate_may_be_of_another_name_that_the_settings_give(kind: str, ca: Authority) -> None:
    async with served(kind, server_tls(ca, "engine.internal")) as stub:
        async with engine_at(kind, stub.url, ca_file=ca.file) as engine:
            with pytest.raises(EngineUnavailable, match="IP address mismatch") as caught:
                await submit(engine)
            assert "tls_server_name" in caught.value.hint
        async with engine_at(kind, stub.url, ca_file=ca.file, tls_server_name="engine.internal") as engine:
            await submit(engine)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(kind: str, ca: Authority) -> None:
    mine = ca.sign("worker")
    async with served(kind, server_tls(ca, client_ca=ca)) as stub:
        async with engine_at(kind, stub.url, ca_file=ca.file) as engine:
            with pytest.raises(EngineUnavailable, match=r"(?i)certificate required|aborted|reset|eof"):
                await submit(engine)
        assert not stub.requests
        async with engine_at(
            kind, stub.url, ca_file=ca.file, cert_file=mine.cert_file, key_file=mine.key_file
        ) as engine:
            await submit(engine)


@pytest.mark.parametrize("kind", KINDS)
async def test_key_and_certificate_may_stand_in_one_file(kind: str, ca: Authority, tmp_path: Path) -> None:
    mine, both = ca.sign("worker"), tmp_path / "both.pem"
    both.write_bytes(mine.cert_file.read_bytes() + mine.key_file.read_bytes())
    async with (
        served(kind, server_tls(ca, client_ca=ca)) as stub,
        engine_at(kind, stub.url, ca_file=ca.file, cert_file=both) as engine,
    ):
        await submit(engine)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_certificate_that_is_renewed_is_shown_without_a_restart(
    kind: str, ca: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    clients = Authority(tmp_path / "other", "clients")
    wrong = ca.sign("worker")  # a certificate, but not of the CA that the server asks for
    async with (
        served(kind, server_tls(ca, client_ca=clients)) as stub,
        engine_at(kind, stub.url, ca_file=ca.file, cert_file=wrong.cert_file, key_file=wrong.key_file) as engine,
    ):
        with pytest.raises(EngineUnavailable):
            await submit(engine)
        renewed = clients.sign("renewed")
        wrong.key_file.write_bytes(renewed.key_file.read_bytes())
        wrong.cert_file.write_bytes(renewed.cert_file.read_bytes())
        await submit(engine)
        assert (await engine.health()).ok


async def test_a_connection_that_stands_is_given_up_when_the_certificate_changes(ca: Authority) -> None:
    mine = ca.sign("worker")
    async with (
        ArgoStub(duration=None, tls=server_tls(ca, client_ca=ca)) as stub,
        engine_at("argo", stub.url, ca_file=ca.file, cert_file=mine.cert_file, key_file=mine.key_file) as engine,
    ):
        await submit(engine)
        before = set(stub.ports)
        await submit(engine)
        assert set(stub.ports) == before, "connections are kept"
        ca.sign("worker")
        stub.ports.clear()
        await submit(engine)
        assert not before & set(stub.ports)


async def test_files_that_are_just_being_replaced_fail_no_run(ca: Authority, tmp_path: Path) -> None:
    mine, token = ca.sign("worker"), tmp_path / "token"
    token.write_text("t")
    async with (
        served("argo", server_tls(ca, client_ca=ca)) as stub,
        engine_at(
            "argo", stub.url, ca_file=ca.file, cert_file=mine.cert_file, key_file=mine.key_file, token_file=token
        ) as engine,
    ):
        await submit(engine)
        mine.cert_file.write_bytes(ca.sign("other").cert_file.read_bytes())
        with pytest.raises(EngineUnavailable, match="TLS file of engine 'it'"):
            await submit(engine)
        mine.key_file.write_bytes((tmp_path / "other.key").read_bytes())
        await submit(engine)
        token.unlink()
        with pytest.raises(EngineUnavailable, match="token file of engine 'it'"):
            await submit(engine)
        token.write_text("t")
        await submit(engine)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ca_file": "missing.pem"}, r"missing\.pem"),
        ({"cert_file": "rubbish.pem"}, r"rubbish\.pem"),
        ({"token_file": "missing"}, "token file of engine 'it' cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_and_no_request_is_sent(
    kind: str, settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    files = {key: tmp_path / value for key, value in settings.items()}
    async with served(kind) as stub, engine_at(kind, stub.url, **files) as engine:
        with pytest.raises(SettingsInvalid) as caught:
            await submit(engine)
        assert "[engines.it]" in caught.value.hint
        health = await engine.health()
        assert not health.ok
        assert not stub.requests
    assert re.search(words, caught.value.message + caught.value.hint)


def test_a_key_without_its_certificate_is_refused_in_the_settings() -> None:
    with pytest.raises(ValueError, match="key_file needs cert_file"):
        ArgoSettings(url="https://x", key_file=Path("k"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("token", "header"), [("abc", "Bearer abc"), ("Basic dXNlcjpwdw==", "Basic dXNlcjpwdw=="), ("Bearer x", "Bearer x")]
)
async def test_a_token_names_its_scheme_or_is_a_bearers(kind: str, token: str, header: str) -> None:
    async with served(kind) as stub, engine_at(kind, stub.url, token=token) as engine:
        await submit(engine)
        assert {sent["authorization"] for sent in stub.headers} == {header}


@pytest.mark.parametrize("kind", KINDS)
async def test_further_headers_go_with_every_request(kind: str) -> None:
    headers = {"X-Tenant": "ml"}
    async with served(kind) as stub, engine_at(kind, stub.url, headers=headers) as engine:
        await submit(engine)
        await engine.health()
        assert {sent.get("x-tenant") for sent in stub.headers} == {"ml"}
        assert all("authorization" not in sent for sent in stub.headers)


async def test_kfp_takes_the_cookies_of_a_login_page() -> None:
    async with served("kfp") as stub, engine_at("kfp", stub.url, cookies="authservice_session=abc") as engine:
        await submit(engine)
        assert {sent["cookie"] for sent in stub.headers} == {"authservice_session=abc"}


async def test_kfp_takes_the_projected_token_of_its_service_account_and_its_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    monkeypatch.setenv(KFP_TOKEN_ENVIRONMENT, str(file))
    async with served("kfp") as stub, engine_at("kfp", stub.url, service_account_token=True) as engine:
        await submit(engine)
        assert {sent["authorization"] for sent in stub.headers} == {"Bearer first"}
        stub.headers.clear()
        file.write_text("second\n")
        await engine.health()
        assert {sent["authorization"] for sent in stub.headers} == {"Bearer second"}


def test_the_projected_tokens_place_is_that_of_kfps_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    import kfp.client

    monkeypatch.delenv(KFP_TOKEN_ENVIRONMENT, raising=False)
    assert KFP_TOKEN_ENVIRONMENT == kfp.client.KF_PIPELINES_SA_TOKEN_ENV
    assert str(KfpSettings(url="x", service_account_token=True).bearer_file) == kfp.client.KF_PIPELINES_SA_TOKEN_PATH


async def test_four_engines_of_two_kinds_keep_their_credentials_apart(ca: Authority) -> None:
    async with (
        served("argo") as west, served("argo", server_tls(ca)) as east, served("kfp") as one, served("kfp") as two,
    ):  # fmt: skip
        settings = {
            "west": ArgoSettings.model_validate({"url": west.url, "token": "west"}),
            "east": ArgoSettings.model_validate({"url": east.url, "token": "east", "ca_file": ca.file}),
            "one": KfpSettings.model_validate({"url": one.url, "cookies": "a=1"}),
            "two": KfpSettings.model_validate({"url": two.url, "headers": {"authorization": "two"}}),
        }
        engines = build_engines(settings, ArtifactStore(StoreSettings()))
        for name, stub in (("west", west), ("east", east), ("one", one), ("two", two)):
            await submit(engines[name])
            seen = {(sent.get("authorization", ""), sent.get("cookie", "")) for sent in stub.headers}
            assert seen == {
                {"west": ("Bearer west", ""), "east": ("Bearer east", ""), "one": ("", "a=1"), "two": ("two", "")}[name]
            }
            await engines[name].close()
