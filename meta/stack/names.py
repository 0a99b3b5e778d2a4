"""Names of the stack's parts and of the ports they listen on."""

from __future__ import annotations

from enum import StrEnum


class PartName(StrEnum):
    """One supervised process, or (`environments`) a job that runs once before others start."""

    TEMPORAL = "temporal"
    NATS = "nats"
    S3 = "s3"
    ENVIRONMENTS = "environments"
    ARGO = "argo"
    KFP = "kfp"
    WORKER = "worker"
    SERVICE = "service"


class PortName(StrEnum):
    """One port on 127.0.0.1. Those with a default are for people; the others are free ones, for the parts' own use."""

    TEMPORAL = "temporal"
    TEMPORAL_UI = "temporal_ui"
    TEMPORAL_HTTP = "temporal_http"
    TEMPORAL_METRICS = "temporal_metrics"
    NATS = "nats"
    NATS_MONITOR = "nats_monitor"
    S3 = "s3"
    S3_GRPC = "s3_grpc"
    S3_MASTER = "s3_master"
    S3_MASTER_GRPC = "s3_master_grpc"
    S3_VOLUME = "s3_volume"
    S3_VOLUME_GRPC = "s3_volume_grpc"
    S3_FILER = "s3_filer"
    S3_FILER_GRPC = "s3_filer_grpc"
    S3_ADMIN = "s3_admin"
    ARGO = "argo"
    KFP = "kfp"
    KFP_METADATA = "kfp_metadata"
    GRPC = "grpc"
    SERVICE_METRICS = "service_metrics"
    WORKER_METRICS = "worker_metrics"


DEFAULT_PORTS: dict[PortName, int] = {
    PortName.TEMPORAL: 7233,
    PortName.TEMPORAL_UI: 8233,
    PortName.NATS: 4222,
    PortName.NATS_MONITOR: 8222,
    PortName.S3: 8333,
    PortName.ARGO: 2746,
    PortName.KFP: 8888,
    PortName.KFP_METADATA: 8887,
    PortName.GRPC: 7400,
}
