"""How the server behaves, as command-line options: of its process, and of `meta sandbox kfp`."""

from __future__ import annotations

import argparse

from meta.sandbox.faults import EngineName
from meta.sandbox.options import add_shared_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not depend on where the server stands."""
    parser.add_argument(
        "--max-concurrent-runs",
        type=int,
        default=2,
        metavar="N",
        help="runs at once, the others are PENDING (%(default)s)",
    )
    parser.add_argument(
        "--api-version", type=int, choices=(2, 3), default=2, metavar="2|3",
        help="2: outputs in ML Metadata, as servers of 2.x; 3: tasks and artifacts over REST, as of 3.x (%(default)s)",
    )  # fmt: skip
    add_shared_options(parser, EngineName.KFP, "runs")
