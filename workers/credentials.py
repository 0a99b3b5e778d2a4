"""Who we are to an engine, and how we know it: tokens, cookies, headers, certificates.

Whatever stands in a file is read again when the file changes: Kubernetes and certificate managers rotate them.
"""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path

from urllib3 import PoolManager, disable_warnings
from urllib3.exceptions import InsecureRequestWarning

from workers.settings import HttpSettings, KfpSettings
from workflows.errors import EngineUnavailable, SettingsInvalid

log = logging.getLogger(__name__)


class Credentials:
    """The headers that say who asks.

    Args:
        engine: the engine's name in the configuration, for messages.
        settings: token or token file, cookies, further headers.
    """

    def __init__(self, engine: str, settings: HttpSettings) -> None:
        self._engine = engine
        self._token = settings.token.get_secret_value() if settings.token else ""
        self._file: Path | None = settings.bearer_file
        self._read: tuple[int, str] = (0, "")
        self._fixed = {name: value.get_secret_value() for name, value in settings.headers.items()}
        if isinstance(settings, KfpSettings) and settings.cookies is not None:
            self._fixed["Cookie"] = settings.cookies.get_secret_value()

    def headers(self) -> dict[str, str]:
        """Headers of the next request. A token with a space in it names its scheme itself, as `Basic dXNlcjpwdw==`.

        Raises:
            SettingsInvalid: the token file cannot be read.
            EngineUnavailable: it cannot be read now, but could be before.
        """
        token = self._token if self._file is None else self._from(self._file)
        if not token:
            return dict(self._fixed)
        return {**self._fixed, "Authorization": token if " " in token else f"Bearer {token}"}

    def _from(self, file: Path) -> str:
        try:
            changed = file.stat().st_mtime_ns
            if changed != self._read[0]:
                self._read = (changed, file.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(self._read[0] != 0)(
                f"the token file of engine '{self._engine}' cannot be read: {error}",
                hint=f"check token_file of [engines.{self._engine}] in meta.toml"
                " (or service_account_token, and that the pod mounts one)",
            ) from error
        return self._read[1]


class Tls:
    """What a connection pool checks of a server, and shows of us.

    urllib3 reads the files for each new connection. When one has changed, the connections that stand are given up, so
    that the next request shows the new certificate.

    Args:
        engine: the engine's name in the configuration, for messages.
        settings: CA, server name, client certificate.
        pool: of the generated client; its TLS options are set here, and nowhere else.
    """

    def __init__(self, engine: str, settings: HttpSettings, pool: PoolManager) -> None:
        self._engine = engine
        self._settings = settings
        self._pool = pool
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        options = pool.connection_pool_kw
        options["cert_reqs"] = "CERT_REQUIRED" if settings.verify_tls else "CERT_NONE"
        if settings.ca_file is not None:
            options["ca_certs"] = str(settings.ca_file)
        if settings.cert_file is not None:
            options["cert_file"] = str(settings.cert_file)
            options["key_file"] = str(settings.key_file or settings.cert_file)
        if settings.url.startswith("https:") and not settings.verify_tls:
            log.warning("engine '%s': verify_tls is false, so anybody could answer in the engine's place", engine)
            disable_warnings(InsecureRequestWarning)  # once is enough; urllib3 says it with every request
        if settings.tls_server_name:
            options["server_hostname"] = settings.tls_server_name

    def refresh(self) -> None:
        """Give up the connections that were made with files that have changed since.

        Raises:
            SettingsInvalid: a file is not there, or is none of certificates or keys.
            EngineUnavailable: so now, but they could be used before.
        """
        files = [f for f in (self._settings.ca_file, self._settings.cert_file, self._settings.key_file) if f]
        if not files:
            return
        try:
            changed = tuple(file.stat().st_mtime_ns for file in files)
            with self._lock:
                if changed == self._seen:
                    return
                self._check()
                if self._seen is not None:
                    self._pool.clear()
                self._seen = changed
        except (OSError, ssl.SSLError) as error:  # a missing file, or one that OpenSSL cannot read
            raise _unusable(self._seen is not None)(
                f"a TLS file of engine '{self._engine}' cannot be used: {error}",
                hint=f"check ca_file, cert_file and key_file of [engines.{self._engine}]: PEM files"
                f" ({', '.join(map(str, files))})",
            ) from error

    def _check(self) -> None:
        """Read the files once, so that what is wrong with them is not taken for a server that does not answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._settings.ca_file is not None:
            context.load_verify_locations(self._settings.ca_file)
        if self._settings.cert_file is not None:
            # The empty password keeps OpenSSL from asking for one at the terminal when the key is encrypted.
            context.load_cert_chain(self._settings.cert_file, self._settings.key_file, password="")


def _unusable(worked: bool) -> type[SettingsInvalid | EngineUnavailable]:
    """The error for a file that cannot be used.

    One that could be a moment ago is most likely being replaced, a certificate before its key: trying again helps, and
    no run may fail for it.
    """
    return EngineUnavailable if worked else SettingsInvalid
