"""Settings of the sandbox Kubeflow Pipelines server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from meta.sandbox.faults import FaultPlan
from meta.sandbox.retention import DEFAULT_KEEP


@dataclass(frozen=True, slots=True)
class KfpSandboxSettings:
    """What the server needs to know.

    Attributes:
        data_dir: database, runs and caches; made if it does not exist.
        s3_endpoint: URL of the S3 server, as `http://127.0.0.1:8333`.
        s3_bucket: where artifacts go unless a run names another pipeline root; made by somebody else.
        s3_access_key: credentials of the server alone; runs never see them.
        s3_secret_key: see s3_access_key.
        environments_dir: root of the environment cache.
        images: images tables, see `meta/sandbox/images.py`.
        objects: files or folders of ConfigMaps and Secrets (`meta/sandbox/kubernetes_objects.py`).
        host: address of the ML Metadata port.
        metadata_port: of the ML Metadata gRPC server; 0 takes a free one.
        artifact_limit_bytes: size of all artifacts that one task may make.
        max_concurrent_runs: more runs wait as PENDING.
        keep: how long runs are kept that have ended, with their folders; None for ever. Objects in S3 stay.
        api_version: 2 serves 2.x (ML Metadata beside the API, `task_details` in a run), 3 serves 3.x (tasks and
            artifacts over REST, no ML Metadata).
        namespace: the Kubernetes namespace that the server says it is in.
        faults: what goes wrong on purpose.
        admin: whether `/sandbox/faults` can change that; any fault allows it too.
    """

    data_dir: Path
    s3_endpoint: str
    s3_bucket: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    environments_dir: Path
    images: tuple[Path, ...] = ()
    objects: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    metadata_port: int = 0
    max_concurrent_runs: int = 2
    keep: timedelta | None = DEFAULT_KEEP
    artifact_limit_bytes: int = 10 * 1024**3
    api_version: int = 2
    namespace: str = "kubeflow"
    faults: FaultPlan = field(default_factory=FaultPlan)
    admin: bool = False

    @property
    def default_pipeline_root(self) -> str:
        return f"s3://{self.s3_bucket}/v2/artifacts"  # as the real server's, with its own bucket
