"""Workflows and runs to make, and how to look at them."""

from __future__ import annotations

import itertools
import json

import urllib3

from tests.integration.sandbox_faults.conftest import Client, Json, until
from tests.integration.sandbox_kfp import pipelines

_NUMBERS = itertools.count(1)
BROKEN = (urllib3.exceptions.ProtocolError,)


def workflow(command: str = "true", name: str = "", **metadata: object) -> Json:
    template = {"name": "main", "container": {"image": "alpine:3", "command": ["sh", "-c", command]}}
    return {
        "workflow": {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name or f"w-{next(_NUMBERS)}", **metadata},
            "spec": {"entrypoint": "main", "templates": [template]},
        }
    }


def created(argo: Client, command: str = "true", name: str = "", **metadata: object) -> str:
    status, body = argo.call("POST", "/workflows/argo", workflow(command, name, **metadata))
    assert status == 200, body
    return str(body["metadata"]["name"])


def ended(argo: Client, name: str) -> Json:
    return until(
        lambda: (found := argo.call("GET", f"/workflows/argo/{name}")[1]["status"]).get("finishedAt") and found,
        f"an end of {name}",
    )


def run(name: str = "", **fields: object) -> Json:
    body = {"display_name": name or f"r-{next(_NUMBERS)}", "pipeline_spec": pipelines.spec("holding")}
    return {**body, "runtime_config": {"parameters": {"folder": "/tmp/none"}}, **fields}


def runs_named(kfp: Client, name: str) -> list[Json]:
    filters = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})
    return kfp.http.request("GET", f"{kfp.url}/apis/v2beta1/runs", fields={"filter": filters}).json().get("runs", [])
