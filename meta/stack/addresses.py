"""Where the parts of a running stack are reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses on 127.0.0.1; empty for a part that was not asked for.

    Attributes:
        temporal: host:port of Temporal's gRPC front end.
        temporal_ui: URL of its Web UI.
        nats: `nats://host:port`.
        s3: URL of the object store.
        grpc: host:port of the service.
        argo: URL of the sandbox Argo server.
        kfp: URL of the sandbox KFP API server.
        kfp_metadata: host:port of the sandbox's ML Metadata.
        service_metrics: host:port where Prometheus is answered for the service.
        worker_metrics: and for the worker.
        data_dir: absolute path of the stack's folder.
        config: absolute path of the meta.toml that names all this.
    """

    temporal: str
    temporal_ui: str
    nats: str
    s3: str
    grpc: str
    argo: str
    kfp: str
    kfp_metadata: str
    service_metrics: str
    worker_metrics: str
    data_dir: str
    config: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
