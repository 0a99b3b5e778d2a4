"""The flags, the same for both servers."""

from __future__ import annotations

import argparse

from meta.sandbox.faults.kinds import KINDS, EngineName
from meta.sandbox.faults.rules import FaultPlan, FaultRule, parse_rule


def add_fault_options(parser: argparse.ArgumentParser, engine: EngineName) -> None:
    """Add `--fault`, `--fault-seed` and `--admin`."""

    def rule(text: str) -> FaultRule:
        try:
            found = parse_rule(text)
            found.check(engine)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return found

    kinds = ", ".join(kind for kind, info in KINDS.items() if engine in info.engines)
    parser.add_argument(
        "--fault", type=rule, action="append", default=[], metavar="RULE",
        help=f"a fault on purpose, as lost-response:times=1,verb=create; may be repeated ({kinds})",
    )  # fmt: skip
    parser.add_argument(
        "--fault-seed", type=int, default=0, metavar="N", help="of the faults' probabilities (%(default)s)"
    )
    parser.add_argument("--admin", action="store_true", help="let /sandbox/faults change the faults while it runs")


def plan_of(options: argparse.Namespace) -> FaultPlan:
    """The plan that the flags give."""
    return FaultPlan(seed=options.fault_seed, rules=tuple(options.fault))
