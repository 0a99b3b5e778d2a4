"""The meta.toml that `meta up` writes into its data folder for the worker, the service and the command line."""

from __future__ import annotations

import json
from pathlib import Path

from meta.stack.addresses import Addresses
from meta.stack.credentials import Credentials
from meta.stack.files import write_private

BUCKET = "meta"
USE_CASES = {
    "ml-training": "kfp",
    "model-evaluation": "kfp",
    "document-ingestion": "argo",
    "batch-inference": "argo",
    "branching-dag": "argo",
}
"""What each engine is better at. KFP: experiments, metrics, a cache of steps. Argo: control flow, fan-out, retries of
pods. A hybrid chain has steps of both."""
_HEAD = (
    "# Written by `meta up` at each start: changes here are lost. For an installation of your own copy it elsewhere.\n"
)


def render(addresses: Addresses, credentials: Credentials) -> str:
    """The file's text; parts without an address have no section."""
    folder = Path(addresses.data_dir)
    sections: list[tuple[str, dict[str, str]]] = []
    if addresses.temporal:
        sections.append(("temporal", {"address": addresses.temporal, "ui_url": addresses.temporal_ui}))
    if addresses.nats:
        sections.append(("nats", {"url": addresses.nats}))
    sections.append(("store", {"url": f"sqlite+aiosqlite:///{folder / 'store.db'}"}))
    if addresses.grpc:
        sections.append(("grpc", {"address": addresses.grpc}))
    metrics = {"service": addresses.service_metrics, "worker": addresses.worker_metrics}
    if any(metrics.values()):
        sections.append(("telemetry.metrics", {role: where for role, where in metrics.items() if where}))
    if addresses.s3:
        keys = {"access_key": credentials.access_key, "secret_key": credentials.secret_key}
        sections.append(("objects", {"endpoint": addresses.s3, "region": "us-east-1", **keys}))
    if addresses.argo:
        sections.append(("engines.argo", {"kind": "argo", "url": addresses.argo}))
    if addresses.kfp:
        values = {"kind": "kfp", "url": addresses.kfp, "metadata_address": addresses.kfp_metadata}
        sections.append(("engines.kfp", values))
    there = {"argo": addresses.argo, "kfp": addresses.kfp}
    if routed := {use_case: engine for use_case, engine in USE_CASES.items() if there[engine]}:
        sections.append(("use_cases", routed))
    return _HEAD + "".join(_section(name, values) for name, values in sections)


def write_config(addresses: Addresses, credentials: Credentials) -> None:
    """Write the file at `addresses.config`, readable by its owner alone: it holds the object store's keys."""
    write_private(Path(addresses.config), render(addresses, credentials))


def _section(name: str, values: dict[str, str]) -> str:
    lines = [f"{key} = {_text(value)}" for key, value in values.items()]
    return "\n".join(["", f"[{name}]", *lines, ""])


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one place where TOML is stricter
