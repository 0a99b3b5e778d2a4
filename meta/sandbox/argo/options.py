"""How the server behaves, as command-line options: of its process, and of `meta sandbox argo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from meta.sandbox.faults import EngineName
from meta.sandbox.faults.options import add_fault_options
from meta.sandbox.retention import add_keep_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not depend on where the server stands."""
    parser.add_argument("--namespace", default="argo", help="the only namespace that is managed (%(default)s)")
    parser.add_argument(
        "--max-concurrent-pods", type=_positive, default=8, metavar="N",
        help="pods that run at once, the others are Pending (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--objects", type=Path, action="append", default=[], metavar="PATH",
        help="Kubernetes YAML of ConfigMaps and Secrets, a file or folder; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--artifact-limit", type=_positive, default=10 * 1024**3, metavar="BYTES",
        help="largest artifact, packed or not (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-archive", dest="archive", action="store_false", help="be a server without an archive")
    parser.add_argument("--token", default=None, help="bearer token that requests must bear (none)")
    add_keep_option(parser, "workflows without a ttlStrategy")
    add_fault_options(parser, EngineName.ARGO)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
