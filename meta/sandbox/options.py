"""Command-line options that both sandbox servers have."""

from __future__ import annotations

import argparse
from pathlib import Path

from meta.sandbox.faults import EngineName
from meta.sandbox.faults.options import add_fault_options
from meta.sandbox.retention import add_keep_option


def positive(text: str) -> int:
    """The type of an option that is a count."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def existing(text: str) -> Path:
    """The type of an option that names a file or folder."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: there is no such file or folder")
    return Path(text).absolute()


def add_shared_options(parser: argparse.ArgumentParser, engine: EngineName, kept: str) -> None:
    """Add them.

    Args:
        parser: of the server, or of `meta sandbox`.
        engine: whose faults can be set.
        kept: what `--keep` keeps, for its help.
    """
    parser.add_argument(
        "--objects", type=existing, action="append", default=[], metavar="PATH",
        help="Kubernetes YAML of ConfigMaps and Secrets, a file or folder; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--artifact-limit", type=positive, default=10 * 1024**3, metavar="BYTES",
        help="largest artifact, packed or not (%(default)s)",
    )  # fmt: skip
    add_keep_option(parser, kept)
    add_fault_options(parser, engine)
