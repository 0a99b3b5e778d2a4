"""Http templates: the sandbox server makes the request."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import Argo, nodes_of, serve, shell, until, workflow
from tests.support.ports import free_port


class _Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.go_on = threading.Event()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Page(BaseHTTPRequestHandler):
    """Tells what it was asked; `/wait` waits, `/moved` leads on, `/404` is none, `/second` works the second time."""

    def _answer(self) -> None:
        site = cast("_Site", self.server)
        site.asked.append(self.path)
        if self.path == "/wait":
            site.go_on.wait(20)
        status = {"/404": 404, "/moved": 302}.get(self.path, 200)
        if self.path == "/second" and site.asked.count("/second") == 1:
            status = 503
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = json.dumps([self.command, self.path, body, self.headers.get("x-token", "")]).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/there")
        self.send_header("x-kind", "test")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _running() -> Generator[_Site]:
    site = _Site()
    thread = threading.Thread(target=site.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        site.go_on.set()
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture(scope="module")
def site() -> Generator[_Site]:
    with _running() as found:
        yield found


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    secret = module_settings.data_dir.parent / "secret.yaml"
    secret.write_text("{kind: Secret, metadata: {name: keys}, stringData: {token: hidden}}")
    with serve(module_settings.model_copy(update={"objects": (secret,), "max_concurrent_pods": 1})) as client:
        yield client


def request(url: str, **more: object) -> JsonObject:
    template = cast("JsonObject", more.pop("template", {}))
    return {"name": "ask", "http": cast("JsonObject", {"url": url, **more}), **template}


def result(node: JsonObject) -> object:
    return json.loads(str(cast("JsonObject", node["outputs"])["result"]))


def test_an_answer_is_the_result_and_what_comes_next_reads_it(argo: Argo, site: _Site) -> None:
    token: JsonObject = {"name": "X-Token", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
    ask = request(
        f"{site.url}/{{{{workflow.name}}}}", method="POST", body="hello", headers=[token],
        successCondition='response.statusCode == 200 && response.headers["X-Kind"][0] == "test" '
        '&& response.body contains "hello" && request.method == "POST"',
    )  # fmt: skip
    say = shell("say", "echo '{{inputs.parameters.p}}'", inputs={"parameters": [{"name": "p"}]})
    value = {"parameters": [{"name": "p", "value": "{{steps.ask.outputs.result}}"}]}
    main = {"name": "main", "steps": [[{"name": "ask", "template": "ask"}],
                                      [{"name": "say", "template": "say", "arguments": value}]]}  # fmt: skip
    ended = argo.run(workflow("asks", "main", main, ask, say))
    node = nodes_of(ended)["ask"]
    assert (node["type"], node["phase"], node.get("message")) == ("HTTP", "Succeeded", None)
    assert result(node) == ["POST", "/asks", "hello", "hidden"]
    assert [json.loads(line) for line in argo.logs("asks")] == [result(node)]


def test_redirections_are_followed(argo: Argo, site: _Site) -> None:
    ended = argo.run(workflow("moves", "ask", request(f"{site.url}/moved")))
    assert result(nodes_of(ended)["moves"]) == ["GET", "/there", "", ""]


def test_failures_have_the_agents_messages(argo: Argo, site: _Site) -> None:
    closed = f"127.0.0.1:{free_port()}"
    missing: JsonObject = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "x"}}}
    cases = [
        (request(f"{site.url}/404"), "received non-2xx response code: 404"),
        (request(site.url, successCondition="response.statusCode > 200"),
         "successCondition 'response.statusCode > 200' evaluated false"),
        (request(f"http://{closed}/"), f'Get "http://{closed}/": dial tcp {closed}: connect: connection refused'),
        (request(site.url, headers=[missing]), "secret 'keys' does not have the key 'x'"),
        (request(f"{site.url}/wait", timeoutSeconds=1), f'Get "{site.url}/wait": context deadline exceeded'),
    ]  # fmt: skip
    names = [f"fails-{number}" for number in range(len(cases))]
    for name, (template, _) in zip(names, cases, strict=True):
        argo.create(workflow(name, "ask", template))
    found = [nodes_of(argo.finished(name, "Failed"))[name].get("message") for name in names]
    assert found == [message for _, message in cases]


def test_a_request_is_retried_and_ended_by_terminate_and_takes_no_place(argo: Argo, site: _Site) -> None:
    before = site.asked.count("/wait")
    argo.create(workflow("ended", "ask", request(f"{site.url}/wait")))
    retried = request(f"{site.url}/second", template={"retryStrategy": {"limit": 2}})
    ended = argo.run(workflow("retries", "ask", retried))  # though another request waits, and there is one place
    assert [nodes_of(ended)[f"retries({n})"]["phase"] for n in (0, 1)] == ["Failed", "Succeeded"]
    until(lambda: site.asked.count("/wait") > before)
    assert argo.put("ended", "terminate")[0] == 200
    ended = argo.finished("ended", "Failed")
    assert nodes_of(ended)["ended"]["message"] == "Stopped with strategy 'Terminate'"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (request("http://x", bodyFrom={"bytes": "eA=="}), "http.bodyFrom is not supported"),
        (request("http://x", successCondition="answer.statusCode == 1"), "unknown name answer"),
        (request("http://x", template={"activeDeadlineSeconds": 3}), "templates.ask.activeDeadlineSeconds of an http"),
    ],
)  # fmt: skip
def test_what_the_sandbox_does_not_do_is_refused_at_create(argo: Argo, template: JsonObject, message: str) -> None:
    assert message in argo.refuse(workflow("refused", "ask", template))
