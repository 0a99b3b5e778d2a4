"""How the server behaves, as command-line options: of its process, and of `meta sandbox kfp`."""

from __future__ import annotations

import argparse
from pathlib import Path

from meta.sandbox.faults import EngineName
from meta.sandbox.faults.options import add_fault_options
from meta.sandbox.retention import add_keep_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not depend on where the server stands."""
    parser.add_argument(
        "--max-concurrent-runs", type=int, default=2, metavar="N", help="runs at once, the others are PENDING"
    )
    parser.add_argument(
        "--api-version", type=int, choices=(2, 3), default=2, metavar="2|3",
        help="2: outputs in ML Metadata, as servers of 2.x; 3: tasks and artifacts over REST, as 3.x will have",
    )  # fmt: skip
    parser.add_argument(
        "--objects", type=Path, action="append", default=[], metavar="PATH",
        help="Kubernetes YAML of ConfigMaps and Secrets, a file or folder; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--max-artifact-mib", type=int, default=10_240, metavar="N",
        help="a task whose artifacts are larger together fails (%(default)s)",
    )  # fmt: skip
    add_keep_option(parser, "runs")
    add_fault_options(parser, EngineName.KFP)
