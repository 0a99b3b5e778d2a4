"""The parts of the stack: each one's command, environment, ports, needs, and how to see that it is ready."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meta.stack import probes
from meta.stack.addresses import Addresses
from meta.stack.binaries import find_binary
from meta.stack.config_file import BUCKET
from meta.stack.credentials import Credentials
from meta.stack.leftovers import INSTANCE_VARIABLE
from meta.stack.names import PartName, PortName
from meta.stack.options import StackOptions
from meta.stack.ports import COMPANION, HOST, Ports
from meta.stack.probes import Probe
from workflows.messages import TASK_QUEUE

NEEDS: Mapping[PartName, frozenset[PartName]] = {
    PartName.TEMPORAL: frozenset(),
    PartName.NATS: frozenset(),
    PartName.S3: frozenset(),
    PartName.ENVIRONMENTS: frozenset(),
    PartName.ARGO: frozenset({PartName.S3, PartName.ENVIRONMENTS}),
    PartName.KFP: frozenset({PartName.S3, PartName.ENVIRONMENTS}),
    PartName.WORKER: frozenset({PartName.TEMPORAL, PartName.S3, PartName.ARGO, PartName.KFP}),
    PartName.SERVICE: frozenset({PartName.TEMPORAL, PartName.NATS, PartName.S3, PartName.ARGO, PartName.KFP}),
}
_PORTS: Mapping[PartName, tuple[PortName, ...]] = {
    PartName.TEMPORAL: tuple(name for name in PortName if name.startswith("temporal")),
    PartName.NATS: (PortName.NATS, PortName.NATS_MONITOR),
    PartName.S3: tuple(name for name in PortName if name.startswith("s3")),
    PartName.ENVIRONMENTS: (),
    PartName.ARGO: (PortName.ARGO,),
    PartName.KFP: (PortName.KFP, PortName.KFP_METADATA),
    PartName.WORKER: (PortName.WORKER_METRICS,),
    PartName.SERVICE: (PortName.GRPC, PortName.SERVICE_METRICS),
}
_CATALOG_IMAGES = Path(__file__).parent.parent.parent / "workflows" / "catalog" / "images.toml"
# What would send a part of the embedded stack to servers of somebody else's, or change how it starts.
_NOT_HANDED_DOWN = re.compile(
    r"META_(CONFIG$|STACK_|TEMPORAL__|NATS__|STORE__|GRPC__|OBJECTS__|ENGINES__)|"
    r"META_TELEMETRY__METRICS__(SERVICE|WORKER)$|AWS_|TEMPORAL_|WEED_|S3_BUCKET$"
)


@dataclass(frozen=True, slots=True)
class Part:
    """How to run one part.

    Attributes:
        name: which.
        command: program and arguments.
        environment: the child's whole environment.
        ports: that it listens on.
        ready: built at each start with the start's time (seconds of the epoch); None for a job that runs once.
        address: for people.
        files: written before the start, readable by their owner alone.
        folders: made before the start.
        debris: files that the part leaves outside the data folder when it is killed.
        stop_grace: seconds between SIGTERM and SIGKILL.
        hint: what to look at when it does not start.
    """

    name: PartName
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[PortName, ...] = ()
    ready: Callable[[float], Probe] | None = None
    address: str = ""
    files: Mapping[Path, str] = field(default_factory=dict[Path, str])
    folders: tuple[Path, ...] = ()
    debris: tuple[Path, ...] = ()
    stop_grace: float = 10.0
    hint: str = ""


def wanted(options: StackOptions) -> list[PartName]:
    """The parts to start, with all that they need, in an order in which each comes after its needs.

    Raises:
        ValueError: a name is none of `PartName`.
    """
    asked = set(PartName) if options.parts is None else {PartName(name) for name in options.parts}
    while more := {need for name in asked for need in NEEDS[name]} - asked:
        asked |= more
    return [name for name in PartName if name in asked]


@dataclass(frozen=True, slots=True)
class Plan:
    """Builds the parts from ports and folders; asked again for a part whose port has changed."""

    options: StackOptions
    ports: Ports
    credentials: Credentials
    instance: str

    def port_names(self, name: PartName) -> tuple[PortName, ...]:
        return _PORTS[name]

    def claim_ports(self, names: list[PartName]) -> None:
        """Choose the ports of all parts, so that a given one that is taken is found before anything starts.

        Raises:
            PortTaken: see `Ports.get`.
        """
        for name in names:
            for port in _PORTS[name]:
                self.ports.get(port)

    def addresses(self, names: list[PartName]) -> Addresses:
        """Addresses of these parts; empty for the others."""

        def at(part: PartName, port: PortName, scheme: str = "") -> str:
            return f"{scheme}{HOST}:{self.ports.get(port)}" if part in names else ""

        return Addresses(
            temporal=at(PartName.TEMPORAL, PortName.TEMPORAL),
            temporal_ui=at(PartName.TEMPORAL, PortName.TEMPORAL_UI, "http://"),
            nats=at(PartName.NATS, PortName.NATS, "nats://"),
            s3=at(PartName.S3, PortName.S3, "http://"),
            grpc=at(PartName.SERVICE, PortName.GRPC),
            argo=at(PartName.ARGO, PortName.ARGO, "http://"),
            kfp=at(PartName.KFP, PortName.KFP, "http://"),
            kfp_metadata=at(PartName.KFP, PortName.KFP_METADATA),
            service_metrics=at(PartName.SERVICE, PortName.SERVICE_METRICS),
            worker_metrics=at(PartName.WORKER, PortName.WORKER_METRICS),
            data_dir=str(self.options.folder),
            config=str(self.options.folder / "meta.toml"),
        )

    def build(self, name: PartName) -> Part:
        """One part, on the ports of now.

        Raises:
            BinaryMissing: its program is not installed.
        """
        builders: dict[PartName, Callable[[], Part]] = {
            PartName.TEMPORAL: self._temporal,
            PartName.NATS: self._nats,
            PartName.S3: self._s3,
            PartName.ENVIRONMENTS: self._environments,
            PartName.ARGO: self._argo,
            PartName.KFP: self._kfp,
            PartName.WORKER: self._worker,
            PartName.SERVICE: self._service,
        }
        return builders[name]()

    def _port(self, name: PortName) -> str:
        return str(self.ports.get(name))

    def _at(self, name: PortName) -> str:
        return f"{HOST}:{self.ports.get(name)}"

    def _environment(self, **more: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not _NOT_HANDED_DOWN.match(key)}
        without_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), HOST, "localhost"]))
        fixed = {
            INSTANCE_VARIABLE: self.instance,
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": without_proxy,
            "no_proxy": without_proxy,
        }
        return {**inherited, **fixed, **more}

    def _keys(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def _temporal(self) -> Part:
        folder = self.options.folder / "temporal"
        command = (
            str(find_binary("temporal")), "server", "start-dev", "--ip", HOST,
            "--port", self._port(PortName.TEMPORAL), "--ui-port", self._port(PortName.TEMPORAL_UI),
            "--http-port", self._port(PortName.TEMPORAL_HTTP), "--metrics-port", self._port(PortName.TEMPORAL_METRICS),
            "--db-filename", str(folder / "temporal.db"),
            # the default of 20 a shard costs 50 ms for each dispatch of an activity
            "--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000",
            "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL",
            "--ui-disable-news-fetch", "--disable-config-file", "--log-level", "warn",
        )  # fmt: skip
        return Part(
            PartName.TEMPORAL, command, self._environment(), _PORTS[PartName.TEMPORAL],
            lambda _: probes.temporal(self._at(PortName.TEMPORAL)), self._at(PortName.TEMPORAL), folders=(folder,),
            hint=f"if its database is damaged, remove {folder} (this loses the history of runs)",
        )  # fmt: skip

    def _nats(self) -> Part:
        folder = self.options.folder / "nats"
        command = (
            str(find_binary("nats-server")), "--addr", HOST, "--port", self._port(PortName.NATS),
            "--http_port", self._port(PortName.NATS_MONITOR), "--jetstream", "--store_dir", str(folder),
        )  # fmt: skip
        monitor = f"http://{self._at(PortName.NATS_MONITOR)}/healthz?js-enabled-only=true"
        return Part(
            PartName.NATS, command, self._environment(), _PORTS[PartName.NATS],
            lambda _: probes.both(probes.tcp(self._at(PortName.NATS)), probes.http(monitor)),
            f"nats://{self._at(PortName.NATS)}", folders=(folder,),
            hint=f"if its streams are damaged, remove {folder} (this loses events that were not yet taken)",
        )  # fmt: skip

    def _s3(self) -> Part:
        folder = self.options.folder / "s3"
        identities = folder / "identities.json"
        # `weed mini` and not `weed server`: ready in one second instead of three, stopped in one instead of fifteen.
        command = (
            str(find_binary("weed")), "-logtostderr=true", "mini", f"-dir={folder / 'data'}",
            f"-ip={HOST}", f"-ip.bind={HOST}", f"-bucket={BUCKET}",
            f"-s3.port={self._port(PortName.S3)}", f"-s3.port.grpc={self._port(PortName.S3_GRPC)}",
            f"-s3.config={identities}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}",
            f"-master.port={self._port(PortName.S3_MASTER)}",
            f"-master.port.grpc={self._port(PortName.S3_MASTER_GRPC)}", "-master.telemetry=false",
            f"-volume.port={self._port(PortName.S3_VOLUME)}",
            f"-volume.port.grpc={self._port(PortName.S3_VOLUME_GRPC)}", "-volume.preStopSeconds=0",
            f"-filer.port={self._port(PortName.S3_FILER)}", f"-filer.port.grpc={self._port(PortName.S3_FILER_GRPC)}",
            f"-admin.port={self._port(PortName.S3_ADMIN)}",
            f"-admin.port.grpc={self.ports.get(PortName.S3_ADMIN) + COMPANION}",
            "-admin.ui=false", "-webdav=false",
        )  # fmt: skip
        grpc_ports = {
            "master": self.ports.get(PortName.S3_MASTER_GRPC), "volume": self.ports.get(PortName.S3_VOLUME_GRPC),
            "filer": self.ports.get(PortName.S3_FILER_GRPC), "s3": self.ports.get(PortName.S3_GRPC),
            "admin": self.ports.get(PortName.S3_ADMIN) + COMPANION,
        }  # fmt: skip
        store = probes.s3_store(
            f"http://{self._at(PortName.S3)}", BUCKET, self.credentials.access_key, self.credentials.secret_key
        )
        return Part(
            PartName.S3, command, self._environment(WEED_ADMIN_PASSWORD=self.credentials.admin_password),
            _PORTS[PartName.S3],
            lambda _: probes.both(probes.tcp(self._at(PortName.S3)), probes.s3(store)),
            f"http://{self._at(PortName.S3)}", files={identities: self.credentials.weed_identities()},
            folders=(folder, folder / "data"),
            debris=tuple(Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in grpc_ports.items()),
            hint=f"if its volumes are damaged, remove {folder / 'data'} (this loses all artifacts)",
        )  # fmt: skip

    def images(self) -> list[Path]:
        """The images tables: the catalogue's own, then those given."""
        return [_CATALOG_IMAGES, *(file.absolute() for file in self.options.images)]

    def _images_arguments(self) -> tuple[str, ...]:
        return tuple(word for file in self.images() for word in ("--images", str(file)))

    def _environments(self) -> Part:
        root = str(self.options.environments_folder)
        kfp = ("--with-kfp",) if PartName.KFP in wanted(self.options) else ()
        command = (*_python("meta.sandbox.environments"), "--root", root, *self._images_arguments(), *kfp)
        return Part(
            PartName.ENVIRONMENTS, command, self._environment(),
            hint="the steps' Python environments are installed once, from the package index that pip and uv use",
        )  # fmt: skip

    def _sandbox(self, name: PartName, module: str, arguments: tuple[str, ...], ready: Probe, port: PortName) -> Part:
        command = (
            *_python(module), "--host", HOST, "--port", self._port(port), *arguments,
            "--data-dir", str(self.options.folder / name), "--s3-endpoint", f"http://{self._at(PortName.S3)}",
            "--s3-bucket", BUCKET, *self._images_arguments(),
            "--environments", str(self.options.environments_folder), *self.options.arguments.get(name, ()),
        )  # fmt: skip
        return Part(
            name, command, self._environment(**self._keys()), _PORTS[name], lambda _: ready,
            f"http://{self._at(port)}", folders=(self.options.folder / name,),
        )  # fmt: skip

    def _argo(self) -> Part:
        url = f"http://{self._at(PortName.ARGO)}/api/v1/version"
        ready = probes.http(url, accept=frozenset({200, 401}))  # 401: it was started with a token
        return self._sandbox(PartName.ARGO, "meta.sandbox.argo", (), ready, PortName.ARGO)

    def _kfp(self) -> Part:
        rest = probes.http(f"http://{self._at(PortName.KFP)}/apis/v2beta1/healthz")
        arguments = ("--metadata-port", self._port(PortName.KFP_METADATA))
        ready = probes.both(rest, probes.tcp(self._at(PortName.KFP_METADATA)))
        return self._sandbox(PartName.KFP, "meta.sandbox.kfp", arguments, ready, PortName.KFP)

    def _own(self, name: PartName, module: str, ready: Callable[[float], Probe], address: str = "") -> Part:
        command = (*_python(module), "--config", str(self.options.folder / "meta.toml"))
        return Part(
            name, command, self._environment(), _PORTS[name], ready, address, stop_grace=20.0,
            hint="`meta doctor` looks at every server that it needs",
        )  # fmt: skip

    def _worker(self) -> Part:
        def ready(since: float) -> Probe:
            return probes.poller(self._at(PortName.TEMPORAL), "default", TASK_QUEUE, since)

        return self._own(PartName.WORKER, "meta.worker", ready)

    def _service(self) -> Part:
        address = self._at(PortName.GRPC)
        return self._own(PartName.SERVICE, "meta.service", lambda _: probes.grpc_health(address), address)


def _python(module: str) -> tuple[str, ...]:
    # -P: a folder that happens to be named as one of our packages, where we run, must not take its place
    return (sys.executable, "-P", "-m", module)
