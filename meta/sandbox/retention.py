"""How long the sandbox engines keep what has ended."""

from __future__ import annotations

import argparse
from datetime import timedelta

from workflows.spec.durations import parse_duration

DEFAULT_KEEP = timedelta(days=7)


def add_keep_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--keep DURATION`, a timedelta or None for ever.

    Args:
        parser: of the server's options.
        what: is kept.
    """
    parser.add_argument(
        "--keep", type=_keep, default=DEFAULT_KEEP, metavar="DURATION",
        help=f"how long {what} are kept once they have ended, as 12h or 30d, or `always` (7d)",
    )  # fmt: skip


def _keep(text: str) -> timedelta | None:
    if text == "always":
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or always") from error
