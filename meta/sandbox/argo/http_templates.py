"""Requests of http templates, as the agent makes them (workflow/executor/agent.go): by the server, in a thread."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from hera.workflows import models as m

from meta.sandbox.argo.expressions import ExpressionError, Value, compile_expression
from meta.sandbox.argo.pods.runner import PodResult
from meta.sandbox.argo.state.status import Phase
from meta.sandbox.kubernetes_objects import KubernetesObjects

_LIMIT = 1024**2  # bytes of an answer; a cluster's etcd takes little more
_TIMEOUT = urllib3.Timeout(connect=30, read=300)  # of each read, so that no thread stays for ever
_RETRIES = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=10, raise_on_redirect=True)


class _RequestError(Exception):
    """There is no answer; the message is Go's, as far as it is known."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, Value]
    body: bytes


async def run_http(http: m.HTTP, objects: KubernetesObjects) -> PodResult:
    """Make the request and judge its answer; cancelled, its thread is left to end by itself.

    Args:
        http: with its tags replaced.
        objects: has the Secrets of headers.
    """
    method = http.method or "GET"
    answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
    try:
        headers = _headers(http, objects)
        _in_thread(http, method, headers, answered)
        async with asyncio.timeout(http.timeout_seconds):
            answer = await answered
        return _judge(http, answer)
    except TimeoutError:
        message = f'{method.capitalize()} "{http.url}": context deadline exceeded'
        return PodResult(Phase.FAILED, message)
    except (_RequestError, ExpressionError) as error:
        return PodResult(Phase.FAILED, str(error))


def _headers(http: m.HTTP, objects: KubernetesObjects) -> urllib3.HTTPHeaderDict:
    headers = urllib3.HTTPHeaderDict()
    for header in http.headers or []:
        value = header.value or ""
        reference = header.value_from.secret_key_ref if header.value_from else None
        if reference is not None:
            secret = objects.objects.get(("Secret", reference.name or ""))
            if secret is None:
                raise _RequestError(f'secrets "{reference.name}" not found')
            if reference.key not in secret.data:
                raise _RequestError(f"secret '{reference.name}' does not have the key '{reference.key}'")
            value = secret.data[reference.key].decode(errors="replace")
        headers.add(header.name, value)
    return headers


def _in_thread(http: m.HTTP, method: str, headers: urllib3.HTTPHeaderDict, answered: asyncio.Future[_Answer]) -> None:
    """Ask in a thread of its own: one of asyncio's would hold up the server's end."""
    loop = asyncio.get_running_loop()

    def settle(answer: _Answer | Exception) -> None:
        if answered.done():
            return
        if isinstance(answer, Exception):
            answered.set_exception(answer)
        else:
            answered.set_result(answer)

    def ask() -> None:
        try:
            found: _Answer | Exception = _ask(http, method, headers)
        except Exception as error:  # whatever it is, somebody waits for it
            found = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name="http template", daemon=True).start()


def _ask(http: m.HTTP, method: str, headers: urllib3.HTTPHeaderDict) -> _Answer:
    failed = f'{method.capitalize()} "{http.url}": '
    checks = "CERT_NONE" if http.insecure_skip_verify else "CERT_REQUIRED"
    try:
        with urllib3.PoolManager(cert_reqs=checks, retries=_RETRIES, timeout=_TIMEOUT) as pool, pool.request(
            method, http.url, headers=headers, body=(http.body or "").encode() or None, preload_content=False,
        ) as answer:  # fmt: skip
            body = answer.read(_LIMIT + 1, decode_content=True)
            names = {name: "-".join(part.capitalize() for part in name.split("-")) for name in answer.headers}
            given: dict[str, Value] = {shown: [*answer.headers.getlist(name)] for name, shown in names.items()}
            return _Answer(answer.status, given, body)
    except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        if isinstance(cause, urllib3.exceptions.NewConnectionError) and "refused" in str(cause):
            cause = f"dial tcp {urlsplit(http.url).netloc}: connect: connection refused"
        raise _RequestError(f"{failed}{cause}") from error


def _judge(http: m.HTTP, answer: _Answer) -> PodResult:
    if len(answer.body) > _LIMIT:
        return PodResult(
            Phase.ERROR,
            "HTTP request completed successfully but an error occurred when patching its result: the sandbox takes "
            "1 MiB of an answer",
        )
    body = answer.body.decode(errors="replace")
    outputs = m.Outputs(result=body)
    if not http.success_condition:
        if answer.status // 100 == 2:
            return PodResult(Phase.SUCCEEDED, None, outputs)
        return PodResult(Phase.FAILED, f"received non-2xx response code: {answer.status}", outputs)
    plain = [header for header in http.headers or [] if not header.value_from]
    asked: dict[str, Value] = {header.name: [header.value or ""] for header in plain}
    known: dict[str, Value] = {
        "request": {
            "method": http.method or "", "url": http.url, "body": http.body or "", "bodyBytes": None, "headers": asked,
        },
        "response": {"statusCode": answer.status, "body": body, "headers": answer.headers},
    }  # fmt: skip
    if compile_expression(http.success_condition).holds(known):
        return PodResult(Phase.SUCCEEDED, None, outputs)
    return PodResult(Phase.FAILED, f"successCondition '{http.success_condition}' evaluated false", outputs)
