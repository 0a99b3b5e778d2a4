"""`python -m meta.sandbox.kfp`: the sandbox Kubeflow Pipelines server as a process.

Credentials of the S3 server come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. SIGTERM and SIGINT stop it, and
the runs in progress with it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from meta.sandbox.faults.options import plan_of
from meta.sandbox.kfp.app import create_app
from meta.sandbox.kfp.options import add_options
from meta.sandbox.kfp.settings import KfpSandboxSettings
from workflows.errors import MetaError


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = KfpSandboxSettings(
            data_dir=options.data_dir.absolute(),
            s3_endpoint=options.s3_endpoint,
            s3_bucket=options.s3_bucket,
            s3_access_key=os.environ.get("AWS_ACCESS_KEY_ID", ""),
            s3_secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            environments_dir=options.environments.absolute(),
            images=tuple(options.images),
            objects=tuple(options.objects),
            artifact_limit_bytes=options.artifact_limit,
            host=options.host,
            metadata_port=options.metadata_port,
            max_concurrent_runs=options.max_concurrent_runs,
            keep=options.keep,
            api_version=options.api_version,
            faults=plan_of(options),
            admin=options.admin,
        )
        app = create_app(settings)
    except MetaError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=5, lifespan="on"
    )
    server = uvicorn.Server(config)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, _ended)
    server.run()
    return 0 if server.started else 1


def _ended(signum: int, frame: object) -> None:
    """Uvicorn raises a signal again after it has ended cleanly on it; the default answer would kill us."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m meta.sandbox.kfp", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="of the REST API")
    parser.add_argument("--metadata-port", type=int, required=True, help="of the ML Metadata gRPC service")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--s3-endpoint", required=True, help="URL of the S3 server")
    parser.add_argument("--s3-bucket", required=True, help="bucket of the default pipeline root")
    parser.add_argument("--images", type=Path, action="append", default=[], help="images table (TOML); may be repeated")
    parser.add_argument("--environments", type=Path, required=True, help="folder of the cached environments")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
