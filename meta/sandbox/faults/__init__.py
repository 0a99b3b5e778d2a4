"""Faults on purpose, for both sandbox engines: what real servers, networks and clusters do to their clients.

Apart from each other: `kinds` (the table of what can go wrong), `rules` (when it does), `ledger` (counts and seeded
decisions), `binding` (what an engine must say of itself), `middleware` and `stream` (faults of HTTP), `admin` (changing
the rules of a running server), `options` (the flags). Faults of state are with the engines: `argo/faults.py`,
`kfp/faults.py`.
"""

from meta.sandbox.faults.kinds import KINDS, EngineName, Kind
from meta.sandbox.faults.rules import FaultPlan, FaultRule, parse_rule, parse_rules

__all__ = ["KINDS", "EngineName", "FaultPlan", "FaultRule", "Kind", "parse_rule", "parse_rules"]
