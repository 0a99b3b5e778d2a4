"""The `[nats]` section: what goes together, and what files must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nkeys
import pytest

from meta.config import NatsConfig, load_config
from meta.nats_login import check_files, check_login, read_nkey, servers_of, shown
from meta.nats_words import HungUpAfterTls, describe
from tests.support.certificates import Authority
from tests.support.nats_accounts import Key, Operator
from workflows.errors import SettingsInvalid

SECRET = "s3cret-of-the-test"


def settings(**values: object) -> NatsConfig:
    return NatsConfig.model_validate({"url": "nats://host", **values})


def refusal(check: Callable[[NatsConfig], object], config: NatsConfig) -> str:
    with pytest.raises(SettingsInvalid) as error:
        check(config)
    assert error.value.hint
    assert SECRET not in str(error.value)
    return error.value.message


def test_urls_are_made_whole_and_carry_no_login() -> None:
    found = servers_of(settings(url=" host , nats://b:1,tls://[::1]:5, nats://me%40x:p%2Fw@c"))
    assert found.urls == ["nats://host:4222", "nats://b:1", "tls://[::1]:5", "nats://c:4222"]
    assert (found.user, found.password, found.token, found.secure) == ("me@x", "p/w", "", True)
    assert servers_of(settings(url="nats://tok%20en@c")).token == "tok en"
    assert not servers_of(settings(url="a,b")).secure
    assert servers_of(settings(url="a", tls_hostname="b")).secure


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"ws://me:{SECRET}@host", "'ws://' is not spoken here"),
        (f"nats://me:{SECRET}@host:port", "its host or port is none"),
        (f"nats://me:{SECRET}@host:70000", "its host or port is none"),
        (f"nats://me:{SECRET}@", "more or less than a host and a port"),
        (f"nats://host/{SECRET}", "more or less than a host and a port"),
        (f"nats://:{SECRET}@host", "a password without a user"),
        (f"nats://a:{SECRET}@host,nats://b:{SECRET}@host", "several logins"),
    ],
)
def test_a_url_that_is_none_is_refused_without_showing_it(url: str, words: str) -> None:
    assert words in refusal(check_login, settings(url=url))
    assert shown(settings(url=url)) == "nats.url"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"user": "me"}, "nats.user without nats.password"),
        ({"password": SECRET}, "nats.password without nats.user"),
        ({"tls_cert_file": "a"}, "nats.tls_cert_file without nats.tls_key_file"),
        ({"tls_key_file": "a"}, "nats.tls_key_file without nats.tls_cert_file"),
        ({"token": SECRET, "nkey_file": "a"}, "nats.token and nats.nkey_file: 2 ways to log in"),
        (
            {"url": f"nats://{SECRET}@host", "user": "a", "password": SECRET, "credentials_file": "c"},
            "the login in nats.url and nats.user and nats.credentials_file: 3 ways",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused_when_the_file_is_read(
    tmp_path: Path, values: dict[str, str], words: str
) -> None:
    assert words in refusal(check_login, settings(**values))
    file = tmp_path / "meta.toml"
    file.write_text("[nats]\n" + "\n".join(f'{key} = "{value}"' for key, value in values.items()))
    with pytest.raises(SettingsInvalid, match=r"nats\."):
        load_config(file)


def test_files_are_looked_at_by_who_connects_alone(tmp_path: Path) -> None:
    config = settings(credentials_file=tmp_path / "none")
    check_login(config)
    assert f"nats.credentials_file: {tmp_path}/none cannot be read: No such file" in refusal(check_files, config)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert f"nats.nkey_file: {tmp_path} cannot be read" in refusal(check_files, settings(nkey_file=tmp_path))


def test_a_file_that_holds_something_else_is_named_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "file"
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair, foreign = authority.sign("a"), other.sign("b")

    def said(content: bytes, **values: object) -> str:
        file.write_bytes(content)
        words = refusal(check_files, settings(**values))
        assert str(file) in words or "tls_cert_file" in words
        return words

    credentials = Operator().credentials(tmp_path / "user.creds").read_text()
    assert "there is no user JWT" in said(b"", credentials_file=file)
    assert "there is no user's seed" in said(credentials.split("----BEGIN USER")[0].encode(), credentials_file=file)
    broken = credentials.replace("\nSU", "\nSX").encode()
    assert "the seed in" in said(broken, credentials_file=file)
    assert "it is no text" in said(b"\xff", nkey_file=file)
    assert "nats.nkey_file: the seed in" in said(b"", nkey_file=file)
    assert "is no user's" in said(Key.make(nkeys.PREFIX_BYTE_ACCOUNT).seed, nkey_file=file)
    assert "nats.tls_ca_file" in said(b"", tls_ca_file=file)
    assert "no certificate with its key" in said(b"x", tls_cert_file=pair.cert_file, tls_key_file=file)
    assert "no certificate with its key" in said(b"", tls_cert_file=pair.cert_file, tls_key_file=foreign.key_file)


def test_a_seed_may_stand_among_comments(tmp_path: Path) -> None:
    key = Key.make()
    file = tmp_path / "user.nk"
    file.write_bytes(b"# a comment\n\n  " + key.seed + b"  \n" + b"U" + key.public.encode())
    assert read_nkey(file) == key.seed


def test_an_error_of_our_own_is_one_line() -> None:
    assert describe(SettingsInvalid("it is wrong", hint="mend it")) == "it is wrong; mend it"
    assert describe(TimeoutError()) == "no answer in time"
    assert describe(OSError()) == "OSError"
    assert "check nats.tls_cert_file and nats.tls_key_file" in describe(HungUpAfterTls())


def test_a_variable_that_is_no_json_is_said_with_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_TRIGGERS__BRIDGE__PIPELINES", "nonsense")
    with pytest.raises(SettingsInvalid, match="triggers") as caught:
        load_config(None)
    assert "is JSON" in caught.value.hint


def test_a_wrong_value_is_said_with_the_variable_that_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "meta.toml"
    file.write_text('[telemetry]\notlp_protocol = "smoke"\n')
    monkeypatch.setenv("META_TELEMETRY__OTLP_ENDPOINT", "collector:4317")
    with pytest.raises(SettingsInvalid) as caught:
        load_config(file)
    variable, in_file = sorted(caught.value.message.splitlines(), reverse=True)
    assert variable.startswith("variable META_TELEMETRY__OTLP_ENDPOINT: telemetry.otlp_endpoint: 'collector:4317'")
    assert "write http://host:4317" in variable
    assert in_file.startswith(f"{file}: telemetry.otlp_protocol: ")


def test_what_does_not_go_together_is_said_in_our_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("META_TRIGGERS__BRIDGE__PIPELINES", '{"a": "b"}')
    with pytest.raises(SettingsInvalid) as caught:
        load_config(None)
    assert caught.value.message.startswith("environment: [triggers.bridge] needs NATS")
