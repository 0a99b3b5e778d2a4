"""How the server behaves, as command-line options: of its process, and of `meta sandbox argo`."""

from __future__ import annotations

import argparse

from meta.sandbox.faults import EngineName
from meta.sandbox.options import add_shared_options, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not depend on where the server stands."""
    parser.add_argument("--namespace", default="argo", help="the only namespace that is managed (%(default)s)")
    parser.add_argument(
        "--max-concurrent-pods", type=positive, default=8, metavar="N",
        help="pods that run at once, the others are Pending (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-archive", dest="archive", action="store_false", help="be a server without an archive")
    parser.add_argument("--token", default=None, help="bearer token that requests must bear (none)")
    add_shared_options(parser, EngineName.ARGO, "workflows without a ttlStrategy")
