"""What `meta doctor` looks at, one function a question."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from meta.config import MetaConfig
from meta.nats_login import check_files, shown
from meta.preflight import check_packages
from meta.stack import probes
from meta.stack.binaries import WHEELS, find_binary
from meta.stack.names import DEFAULT_PORTS
from meta.stack.ports import holder, is_free
from meta.stack.state import DataFolder, PartState, StackPhase
from workers.artifacts import ArtifactStore
from workers.engines.base import EngineHealth, Verdict
from workers.engines.registry import build_engines
from workflows.errors import BinaryMissing, DataDirBroken, MetaError, PackageShadowed, SettingsInvalid
from workflows.messages import TASK_QUEUE

_DISK_LEAST, _DISK_LITTLE = 512 * 1024**2, 2 * 1024**3  # bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """Answer to one question.

    Attributes:
        name: what was looked at.
        verdict: WARN and SKIP do not make the check as a whole fail.
        detail: what was found.
        hint: what to do; empty when nothing is to be done.
    """

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


def python_version() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", Verdict.OK, f"{version} ({sys.executable})")
    return Finding(
        "python", Verdict.FAIL, f"{version}: 3.11 to 3.13 is supported", "make the environment with another Python"
    )


def packages() -> Finding:
    try:
        check_packages()
    except PackageShadowed as error:
        return Finding("packages", Verdict.FAIL, error.message, error.hint)
    return Finding("packages", Verdict.OK, "workflows, workers and meta are ours")


def programs(*, needed: bool) -> list[Finding]:
    """The embedded stack's programs; `needed` is False on an installation with servers of its own."""
    found: list[Finding] = []
    for name in WHEELS:
        try:
            found.append(Finding(name, Verdict.OK, str(find_binary(name))))
        except BinaryMissing as error:
            verdict = Verdict.FAIL if needed else Verdict.SKIP
            found.append(Finding(name, verdict, error.message, error.hint if needed else ""))
    return found


def data_folder(folder: DataFolder) -> Finding:
    mend = "choose another with --data-dir, or mend the folder's owner and rights"
    place = folder.folder
    if not place.exists():
        parent = _existing(place)
        if parent.is_dir() and os.access(parent, os.W_OK):
            return Finding("data folder", Verdict.OK, f"{place} will be made by `meta up`")
        return Finding("data folder", Verdict.FAIL, f"cannot make {place}: {parent} is not a writable folder", mend)
    try:
        folder.make()
        folder.load()
    except DataDirBroken as error:
        return Finding("data folder", Verdict.FAIL, error.message, error.hint)
    return Finding("data folder", Verdict.OK, str(place))


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    words = f"{free / 1024**3:.1f} GB free for {folder}"
    if free < _DISK_LEAST:
        return Finding("disk", Verdict.FAIL, words, "make room: the object store refuses to write on a full disk")
    if free < _DISK_LITTLE:
        return Finding("disk", Verdict.WARN, words, "make room before long: environments and artifacts need some GB")
    return Finding("disk", Verdict.OK, words)


def stack(folder: DataFolder) -> Finding:
    """Whether the stack of the data folder runs, and all its parts do."""
    try:
        state = folder.load()
    except DataDirBroken as error:
        return Finding("stack", Verdict.FAIL, error.message, error.hint)
    if not folder.is_locked():
        left = "" if state.phase is StackPhase.STOPPED else "; it was killed, `meta up` goes on where it was"
        return Finding("stack", Verdict.SKIP, f"none is running in {folder.folder}{left}", "start one: meta up")
    tired = [name for name, part in state.parts.items() if part.state not in (PartState.READY, PartState.DONE)]
    if tired:
        logs = ", ".join(str(folder.folder / "logs" / f"{name}.log") for name in tired)
        return Finding("stack", Verdict.FAIL, f"not ready: {', '.join(tired)}", f"look at {logs}")
    return Finding("stack", Verdict.OK, f"{len(state.parts)} parts run in {folder.folder}")


def ports() -> Finding:
    """The well-known ports; taken ones are no hindrance, `meta up` finds others."""
    taken = {name: port for name, port in DEFAULT_PORTS.items() if not is_free(port)}
    if not taken:
        return Finding("ports", Verdict.OK, "all well-known ports are free")
    words = [f"{port} ({name})" + (f" by {who}" if (who := holder(port)) else "") for name, port in taken.items()]
    return Finding("ports", Verdict.WARN, f"taken: {', '.join(words)}", "none needed: `meta up` takes free ones")


async def temporal(config: MetaConfig) -> Finding:
    where = config.temporal
    return await _ask(
        "temporal",
        probes.temporal(where.address, where.namespace),
        f"{where.address}, namespace {where.namespace}",
        "start Temporal, or set [temporal] address and namespace in meta.toml",
    )


async def worker(config: MetaConfig) -> Finding:
    where = config.temporal
    return await _ask(
        "worker",
        probes.poller(where.address, where.namespace, TASK_QUEUE, since=1.0),
        f"polls {TASK_QUEUE}",
        "start a worker: python -m meta.worker --config meta.toml",
    )


async def nats(config: MetaConfig) -> Finding:
    if not config.nats.url:
        return Finding("nats", Verdict.SKIP, "no [nats] url: events are switched off")
    try:
        check_files(config.nats)
    except SettingsInvalid as error:
        return Finding("nats", Verdict.FAIL, error.message, error.hint)
    return await _ask(
        "nats",
        probes.nats(config.nats),
        f"{shown(config.nats)}, JetStream on",
        "docs/configuration.md lists the keys of [nats] in meta.toml; nats-server needs --jetstream",
    )


async def objects(config: MetaConfig, bucket: str) -> Finding:
    """Put, get and delete in the bucket; without a bucket's name there is nothing to ask."""
    where = config.objects
    name = where.endpoint or "AWS S3"
    if not bucket:
        return Finding("s3", Verdict.SKIP, f"{name}: which bucket?", "give one to look at: meta doctor --bucket NAME")
    store = probes.s3_store(
        where.endpoint,
        bucket,
        where.access_key.get_secret_value() if where.access_key else None,
        where.secret_key.get_secret_value() if where.secret_key else None,
        where.region,
    )
    return await _ask(
        "s3",
        probes.s3(store),
        f"{name}, bucket {bucket}: put, get, delete",
        "start the store, make the bucket, or set [objects] in meta.toml (endpoint, access_key, secret_key)",
    )


async def engines(config: MetaConfig) -> list[Finding]:
    """Each engine over its REST API: whether it answers, its version, and what we may do there."""
    if not config.engines:
        return [Finding("engines", Verdict.FAIL, "none configured", "name one: [engines.argo] in meta.toml")]
    built = build_engines(config.engines, ArtifactStore(config.objects, config.stores, config.engines))
    try:
        healths = await asyncio.gather(*(engine.health() for engine in built.values()))
    finally:
        for engine in built.values():
            await engine.close()
    return [found for name, health in zip(built, healths, strict=True) for found in _of_engine(name, health)]


async def service(config: MetaConfig) -> Finding:
    address = config.grpc.address
    return await _ask(
        "service",
        probes.grpc_health(address),
        f"serves at {address}",
        "start it: python -m meta.service --config meta.toml; or set [grpc] address in meta.toml",
    )


async def collector(config: MetaConfig) -> list[Finding]:
    """Whether the collector takes traces of us; nothing when none is configured."""
    from meta.telemetry.sending import Answer, Sender

    if not config.telemetry.otlp_endpoint:
        return []
    where = f"{config.telemetry.otlp_endpoint} ({config.telemetry.otlp_protocol})"
    try:
        sender = Sender(config.telemetry)
    except SettingsInvalid as error:
        return [Finding("collector", Verdict.FAIL, error.message, error.hint)]
    try:
        reply = await sender.send([])
    finally:
        sender.close()
    if reply.answer is Answer.TAKEN:
        return [Finding("collector", Verdict.OK, f"takes traces at {where}")]
    return [Finding("collector", Verdict.FAIL, f"{where}: {reply.reason}", reply.hint)]


def metrics(config: MetaConfig) -> Finding:
    """Where metrics are to be had; whether Prometheus gets there cannot be seen from here."""
    where = config.telemetry.metrics
    told = [
        f"{role} at http://{address}/metrics"
        for role, address in (("service", where.service), ("worker", where.worker))
        if address
    ]
    told += [f"by OTLP to {config.telemetry.otlp_endpoint}"] if where.otlp else []
    if not told:
        return Finding(
            "metrics", Verdict.SKIP, "off", "switch them on: [telemetry.metrics] in meta.toml, docs/metrics.md"
        )
    return Finding("metrics", Verdict.OK, ", ".join(told))


async def circuits(config: MetaConfig) -> list[Finding]:
    """What the workers' circuit breakers do, as the service knows it: engines that a worker takes for down."""
    from meta.client import MetaClient

    try:
        async with MetaClient(config.grpc.address, patience_s=0.0) as client:
            engines = await client.engines()
    except MetaError as error:
        return [Finding("circuits", Verdict.SKIP, f"the service does not tell: {error.message}")]
    found: list[Finding] = []
    for engine in engines:
        for circuit in engine.circuits:
            closed = circuit.state == "closed"
            hint = "" if closed else f"calls fail at once until {engine.url} answers; it is asked again by itself"
            verdict = Verdict.OK if closed else Verdict.WARN
            found.append(Finding(f"circuit {engine.name}", verdict, str(circuit), hint))
    return found or [Finding("circuits", Verdict.SKIP, "no worker has written of late what its engines do")]


def _of_engine(name: str, health: EngineHealth) -> Iterator[Finding]:
    """The first check is whether the engine answers at all, and stands for it."""
    for i, check in enumerate(health.checks):
        yield Finding(f"engine {name} {check.name}" if i else f"engine {name}", check.verdict, check.detail, check.hint)


async def _ask(name: str, probe: Callable[[], Awaitable[None]], good: str, hint: str) -> Finding:
    try:
        await probe()
    except probes.NotReady as error:
        return Finding(name, Verdict.FAIL, str(error), hint)
    return Finding(name, Verdict.OK, good)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
