"""How the server behaves, as command-line options: of its process, and of `meta sandbox kfp`."""

from __future__ import annotations

import argparse

from meta.sandbox.faults import EngineName
from meta.sandbox.faults.options import add_fault_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not depend on where the server stands."""
    parser.add_argument(
        "--max-concurrent-runs", type=int, default=2, metavar="N", help="runs at once, the others are PENDING"
    )
    add_fault_options(parser, EngineName.KFP)
