"""`python -m meta.sandbox.argo`: the sandbox Argo server as a process."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from pydantic import SecretStr

from meta.sandbox.argo.app import create_app
from meta.sandbox.argo.options import add_options
from meta.sandbox.argo.serving import ArgoSandboxServer
from meta.sandbox.argo.settings import ArgoSandboxSettings
from meta.sandbox.faults.options import plan_of
from workflows.errors import MetaError


def _pass(signum: int, frame: FrameType | None) -> None:
    del signum, frame


_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0, 2 for bad settings, 1 when the server could not start.
    """
    parser = argparse.ArgumentParser(prog="python -m meta.sandbox.argo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2746)
    parser.add_argument("--data-dir", type=Path, required=True)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--s3-endpoint", help="URL of the S3 server for artifacts, with http:// or https://")
    where.add_argument("--artifact-root", type=Path, help="folder for artifacts, where there is no S3 server")
    parser.add_argument("--s3-bucket", default="artifacts", help="bucket for artifacts (%(default)s)")
    parser.add_argument("--images", type=Path, action="append", default=[])
    parser.add_argument("--environments", type=Path, required=True, help="folder of the cached Python environments")
    add_options(parser)
    options = parser.parse_args(arguments)
    missing = [key for key in _KEYS if options.s3_endpoint and not os.environ.get(key)]
    if missing:
        parser.error(f"{' and '.join(missing)} must be set in the environment: the S3 server's credentials")
    if options.s3_endpoint and "://" not in options.s3_endpoint:
        parser.error(f"--s3-endpoint {options.s3_endpoint}: give a URL with its scheme, as http://127.0.0.1:8333")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = ArgoSandboxSettings(
        data_dir=options.data_dir.absolute(),
        s3_endpoint=options.s3_endpoint,
        s3_bucket=options.s3_bucket,
        artifact_root=options.artifact_root.absolute() if options.artifact_root else None,
        artifact_limit_bytes=options.artifact_limit,
        access_key_id=SecretStr(os.environ.get(_KEYS[0], "")),
        secret_access_key=SecretStr(os.environ.get(_KEYS[1], "")),
        images=tuple(options.images),
        objects=tuple(options.objects),
        environments=options.environments.absolute(),
        namespace=options.namespace,
        max_concurrent_pods=options.max_concurrent_pods,
        keep=options.keep,
        archive=options.archive,
        token=SecretStr(options.token) if options.token else None,
        faults=plan_of(options),
        admin=options.admin,
    )
    try:
        app = create_app(settings)
    except MetaError as error:
        print(error, file=sys.stderr)
        return 2
    server = ArgoSandboxServer(app, options.host, options.port)
    for signum in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has gone down: that is no fault
        signal.signal(signum, _pass)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    raise SystemExit(main())
