"""Who has had which fault: the counts behind the rules, and the seeded draws.

A draw depends on the seed, the rule, the run and how often the rule has met the run, on nothing else. So with the same
seed a run that asks the same things in the same order meets the same faults, whatever other runs do meanwhile; rules
with `per=run` count alike.
"""

from __future__ import annotations

import fnmatch
import logging
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from meta.sandbox.faults.kinds import Kind
from meta.sandbox.faults.rules import FaultPlan, FaultRule, has_label

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something that may go wrong.

    Attributes:
        verb: what is asked, or `end`.
        run: name of the run that it is about; empty for none.
        labels: of the run.
        own: rules that are set on the run.
    """

    verb: str
    run: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    own: tuple[FaultRule, ...] = ()


@dataclass(slots=True)
class Count:
    """How often a rule could have happened, and how often it has."""

    matched: int = 0
    fired: int = 0


class Ledger:
    """Decides, and remembers. One per server."""

    def __init__(self, plan: FaultPlan) -> None:
        self.replace(plan)

    def replace(self, plan: FaultPlan) -> None:
        """Take other rules; the counts begin anew, those of rules on runs too."""
        self.plan = plan
        self._rules = tuple((f"{number} {rule}", rule) for number, rule in enumerate(plan.rules))
        self._counts: defaultdict[tuple[str, str], Count] = defaultdict(Count)
        self._totals: defaultdict[str, Count] = defaultdict(Count, {name: Count() for name, _ in self._rules})

    def decide(self, kinds: Collection[Kind], occasion: Occasion) -> Iterator[FaultRule]:
        """The faults of these kinds that happen now, in the rules' order; a fault that is not taken is not counted."""
        own = ((f"{occasion.run} {number} {rule}", rule) for number, rule in enumerate(occasion.own))
        for name, rule in (*self._rules, *own):
            if rule.kind in kinds and _about(rule, occasion) and self._happens(name, rule, occasion.run):
                yield rule

    def first(self, kinds: Collection[Kind], occasion: Occasion) -> FaultRule | None:
        """The first fault of these kinds that happens now."""
        return next(self.decide(kinds, occasion), None)

    def has(self, kinds: Collection[Kind]) -> bool:
        """Whether any rule of the plan is of one of these kinds."""
        return any(rule.kind in kinds for _, rule in self._rules)

    def tally(self) -> list[tuple[FaultRule, int, int]]:
        """Each rule of the plan, how often it could have happened, and how often it has."""
        return [(rule, self._totals[name].matched, self._totals[name].fired) for name, rule in self._rules]

    def tally_of_runs(self) -> dict[str, int]:
        """Rules that are set on runs, and how often they have happened."""
        known = {name for name, _ in self._rules}
        return {name: count.fired for name, count in self._totals.items() if name not in known}

    def _happens(self, name: str, rule: FaultRule, run: str) -> bool:
        total, here = self._totals[name], self._counts[name, run]
        total.matched += 1
        here.matched += 1
        count = here if rule.per == "run" else total
        met = count.matched - rule.after
        if met <= 0 or (rule.every and met % rule.every) or (rule.times is not None and count.fired >= rule.times):
            return False
        if rule.probability is not None:
            seed = f"{self.plan.seed}/{name}/{run}/{here.matched}"
            if random.Random(seed).random() >= rule.probability:
                return False
        total.fired += 1
        here.fired += 1
        _log.info("fault %s%s", rule, f" on {run}" if run else "")
        return True


def _about(rule: FaultRule, occasion: Occasion) -> bool:
    verb = rule.match.verb or rule.info.default
    if verb != occasion.verb and (verb or occasion.verb in ("health", "end", "metadata")):
        return False
    return fnmatch.fnmatchcase(occasion.run, rule.match.name) and has_label(occasion.labels, rule.match.label)
