"""Calls to the engines' HTTP APIs: one place for time-outs, threads, tokens and errors.

Both engines ship a generated, blocking client on urllib3 with the same base (`ApiClient.call_api`). `ApiCaller` runs
it in a few threads, takes the raw JSON (the generated models refuse what newer servers add), and turns what can go
wrong into `ApiUnavailable` and `ApiRejected`. A circuit breaker stands in front of every request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar, cast

from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from workers import metrics
from workers.circuit import Circuit, KeptBack
from workers.credentials import Credentials, Tls
from workers.settings import HttpSettings
from workflows.errors import EngineRejected, EngineUnavailable
from workflows.values import JsonObject, JsonValue

T = TypeVar("T")

THREADS = 16
"""Requests under way at once, for each engine; more wait."""

POOL = THREADS + 8
"""Connections that are kept: of the requests, and of the watch and a few log streams."""

NOT_FOUND = 404
CONFLICT = 409
_TRY_AGAIN = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_DOWN = frozenset({0, 502, 503, 504})
"""What a proxy says for a server that is down. A 500 comes from a server that is up, and often tells of one request."""

_MAY_ASK = frozenset({429, 503})
_MESSAGE = 2000

Query = Mapping[str, str | int | bool]


class ApiUnavailable(EngineUnavailable):
    """No answer, or one that says nothing about the request.

    Attributes:
        status: HTTP status; 0 without an answer.
        sent: False when the request surely never reached the server.
        retry_after: seconds that the server, or the circuit breaker, asks to wait.
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, sent: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.sent = sent
        self.retry_after = retry_after


class ApiRejected(EngineRejected):
    """The API said no.

    Attributes:
        status: HTTP status, 4xx.
        answer: the server's own words.
    """

    def __init__(self, message: str, *, hint: str = "", status: int, answer: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.answer = answer


class RestClient(Protocol):
    """The generated clients' own connection pool."""

    @property
    def pool_manager(self) -> PoolManager: ...


class GeneratedClient(Protocol):
    """What `argo_workflows.ApiClient` and `kfp_server_api.ApiClient` have in common."""

    @property
    def rest_client(self) -> RestClient: ...

    def call_api(
        self,
        resource_path: str,
        method: str,
        *,
        path_params: dict[str, str],
        query_params: list[tuple[str, str]],
        header_params: dict[str, str],
        body: JsonValue,
        _preload_content: bool,
        _request_timeout: tuple[float, float],
    ) -> object: ...


class ApiCaller:
    """Calls one engine's API.

    Args:
        engine: the engine's name in the configuration, for messages.
        client: the generated client; it must not retry by itself.
        api_error: its exception for answers that are not 2xx; has `status` and `body`.
        settings: URL, token, time-outs.
        threads: requests under way at once; more wait.
    """

    def __init__(
        self,
        engine: str,
        client: GeneratedClient,
        api_error: type[Exception],
        settings: HttpSettings,
        *,
        threads: int = THREADS,
    ) -> None:
        self._engine = engine
        self._client = client
        self._api_error = api_error
        self._settings = settings
        self.circuit = Circuit(engine)
        self._credentials = Credentials(engine, settings)
        self._tls = Tls(engine, settings, client.rest_client.pool_manager)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"engine-{engine}")

    async def call(
        self,
        method: str,
        path: str,
        *,
        where: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: JsonValue = None,
        timeout: float | None = None,
        send_by: float | None = None,
    ) -> JsonObject:
        """Send a request and take the JSON object that answers it.

        Args:
            method: GET, POST, PUT or DELETE.
            path: with `{names}` that `where` fills in.
            where: values of the path's names; quoted.
            query: query string.
            body: JSON.
            timeout: read time-out in seconds, if not the settings'.
            send_by: a moment of `time.monotonic`; when no thread was free before it, nothing is sent.

        Raises:
            ApiUnavailable: no connection, time-out, 408, 425, 429, 5xx, an answer that is not JSON, or a call that the
                circuit breaker keeps back.
            ApiRejected: any other answer but 2xx.
        """

        def send() -> JsonObject:
            if send_by is not None and time.monotonic() > send_by:
                raise ApiUnavailable(
                    f"engine '{self._engine}': {method} {path} waited too long for its turn and was not sent",
                    hint="this worker asks the engine more than it answers; it is tried again",
                    sent=False,
                )
            response = self.open(method, path, where=where, query=query, body=body, timeout=timeout)
            try:
                data = response.read()
            except HTTPError as error:
                problem = self._no_answer(method, path, error)
                self.circuit.failed(problem.message)
                raise problem from error
            finally:
                response.release_conn()
            return self._parse(method, path, data)

        try:
            self.circuit.check()  # here already: with an engine that hangs, all threads are taken
        except KeptBack as error:
            raise self._kept_back(method, error) from error
        return await self.run(send)

    async def find(
        self, path: str, *, where: Mapping[str, str] | None = None, query: Query | None = None
    ) -> JsonObject | None:
        """GET an object that may not be there: None for 404."""
        try:
            return await self.call("GET", path, where=where, query=query)
        except ApiRejected as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in the engine's threads. A cancelled caller leaves the thread to its time-out."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def open(
        self,
        method: str,
        path: str,
        *,
        where: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: JsonValue = None,
        accept: str = "application/json",
        timeout: float | None = None,
    ) -> BaseHTTPResponse:
        """Send a request and hand out the answer unread. Blocking; for streams, in a thread of their own.

        Raises:
            ApiUnavailable, ApiRejected: as `call`.
            SettingsInvalid, EngineUnavailable: a file of credentials cannot be used, or not at the moment.
        """
        headers = {**self._credentials.headers(), "Accept": accept}
        self._tls.refresh()
        try:
            self.circuit.enter()
        except KeptBack as error:
            raise self._kept_back(method, error) from error
        began = time.perf_counter()
        try:
            answer = self._client.call_api(
                path,
                method,
                path_params=dict(where or {}),
                query_params=[(key, _text(value)) for key, value in (query or {}).items()],
                header_params=headers,
                body=body,
                _preload_content=False,
                _request_timeout=(self._settings.connect_timeout, timeout or self._settings.request_timeout),
            )
        except Exception as error:
            problem: ApiRejected | ApiUnavailable
            where_it_was = path.format_map(where or {})
            if isinstance(error, self._api_error | AttributeError) and (broken := _tls_error(error)) is not None:
                problem = self._no_answer(method, where_it_was, broken)
            elif isinstance(error, self._api_error):
                problem = self._refused(method, where_it_was, error)
            elif isinstance(error, HTTPError):
                problem = self._no_answer(method, where_it_was, error)
            else:  # a bug of ours or of the generated client; no news of the engine
                self.circuit.succeeded()
                raise
            self._count(method, problem, time.perf_counter() - began)
            raise problem from error
        self._count(method, None, time.perf_counter() - began)
        return cast("BaseHTTPResponse", answer)

    def close(self) -> None:
        """Take no more requests, close idle connections. Requests under way end with their time-outs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._client.rest_client.pool_manager.clear()

    def _count(self, method: str, problem: ApiRejected | ApiUnavailable | None, seconds: float) -> None:
        """Tell the circuit and the metrics what came of a request."""
        if isinstance(problem, ApiUnavailable) and problem.status in _DOWN:
            self.circuit.failed(problem.message)
        else:
            self.circuit.succeeded()
        if isinstance(problem, ApiUnavailable) and problem.status in _MAY_ASK and problem.retry_after:
            self.circuit.pause(problem.retry_after, problem.message)
        outcome = "ok" if problem is None else "rejected" if isinstance(problem, ApiRejected) else "unavailable"
        metrics.request_ended(self._engine, method, outcome, seconds)

    def _kept_back(self, method: str, error: KeptBack) -> ApiUnavailable:
        metrics.request_ended(self._engine, method, "kept_back", None)
        since = f"{error.since:%H:%M:%S} UTC"
        state = f"is taken for down since {since}" if error.down else "asked for a pause"
        return ApiUnavailable(
            f"engine '{self._engine}' {state} and is not asked again for {error.retry_after:.1f} s: {error.reason}",
            hint=f"check that {self._settings.url} is up; it is tried again by itself",
            sent=False,
            retry_after=error.retry_after,
        )

    def _parse(self, method: str, path: str, data: bytes) -> JsonObject:
        try:
            value: object = json.loads(data) if data.strip() else {}
        except ValueError as error:
            raise ApiUnavailable(
                f"engine '{self._engine}': {method} {path} answered with something that is not JSON: {data[:200]!r}",
                hint=f"is {self._settings.url} the engine's API, and not a page or a proxy before it?",
            ) from error
        return cast("JsonObject", value) if isinstance(value, dict) else {"items": cast("JsonValue", value)}

    def _refused(self, method: str, path: str, error: Exception) -> ApiRejected | ApiUnavailable:
        status = cast("int | None", getattr(error, "status", None)) or 0
        answer = server_message(cast("str | bytes | None", getattr(error, "body", None)))
        what = f"engine '{self._engine}': {method} {path} answered {status}: {answer or 'no message'}"
        if status >= _SERVER_ERROR or status in _TRY_AGAIN or status == 0:
            return ApiUnavailable(
                what,
                status=status,
                hint="it is tried again; see the engine's own log if it stays so",
                retry_after=retry_after(cast("Mapping[str, str] | None", getattr(error, "headers", None)) or {}),
            )
        hint = ""
        if status in (401, 403):
            hint = f"give [engines.{self._engine}] credentials (token, token_file, cert_file ...) that may do this"
        return ApiRejected(what, status=status, answer=answer, hint=hint)

    def _no_answer(self, method: str, path: str, error: HTTPError) -> ApiUnavailable:
        where = "ca_file, tls_server_name, cert_file and key_file" if isinstance(error, SSLError) else "url"
        return ApiUnavailable(
            f"engine '{self._engine}' does not answer at {self._settings.url} ({method} {path}): "
            f"{type(error).__name__}: {error}",
            hint=f"check {where} of [engines.{self._engine}] and that the engine is up; it is tried again",
            sent=not isinstance(error, NewConnectionError | ConnectTimeoutError),
        )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date (RFC 9110, 10.2.3); None when there is none."""
    given = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if given.isdecimal():
        return float(given)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)


def _tls_error(error: BaseException) -> SSLError | None:
    """The TLS error behind a generated client's.

    They make an answer with status 0 and no body of it; Argo's then fails on the missing body (`api_client.py`).
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, SSLError):
        found = found.__context__
    return found


def server_message(body: str | bytes | None) -> str:
    """The words in a server's error body: `message` or `error` of grpc-gateway's JSON, else the text itself."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text.strip()[:_MESSAGE]
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        for name in ("message", "error"):
            found = fields.get(name)
            if isinstance(found, str) and found:
                return found[:_MESSAGE]
            if isinstance(found, dict):  # an error inside a stream: {"error": {"message": ...}}
                inner = cast("dict[str, object]", found).get("message")
                if isinstance(inner, str):
                    return inner[:_MESSAGE]
    return text.strip()[:_MESSAGE]


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
