"""What the sandbox Argo server is started with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

from meta.sandbox.faults import FaultPlan
from meta.sandbox.retention import DEFAULT_KEEP


class ArgoSandboxSettings(BaseModel):
    """Settings of one server.

    Attributes:
        data_dir: database and pods' folders; made if it is not there.
        s3_endpoint: URL of the default artifact store, with its scheme; None keeps artifacts below `artifact_root`.
        s3_bucket: bucket of the default artifact store; it must exist there.
        artifact_root: folder of the artifacts where there is no S3 server: of buckets, and files by their keys.
        artifact_limit_bytes: how large one artifact may be, packed or not.
        images: images tables (`meta/sandbox/images.py`).
        objects: files or folders of ConfigMaps and Secrets (`meta/sandbox/kubernetes_objects.py`).
        environments: folder of the cached Python environments.
        namespace: the only namespace, as of an Argo installed with `--namespaced`.
        max_concurrent_pods: pods that run at once; others are Pending.
        keep: how long finished workflows are kept that have no `ttlStrategy`; None for ever.
        archive: whether ended workflows are kept in an archive; without one the server answers as a real one without.
        token: a bearer token that every request must bear; None for none.
        faults: what goes wrong on purpose.
        admin: whether `/sandbox/faults` can change that; any fault allows it too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    s3_endpoint: str | None = None
    s3_bucket: str = "artifacts"
    artifact_root: Path | None = None
    artifact_limit_bytes: int = 10 * 1024**3
    access_key_id: SecretStr = SecretStr("")
    secret_access_key: SecretStr = SecretStr("")
    images: tuple[Path, ...] = ()
    objects: tuple[Path, ...] = ()
    environments: Path
    namespace: str = "argo"
    max_concurrent_pods: int = 8
    keep: timedelta | None = DEFAULT_KEEP
    archive: bool = True
    token: SecretStr | None = None
    faults: FaultPlan = FaultPlan()
    admin: bool = False
