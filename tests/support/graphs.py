"""Random graphs of steps, and what becomes of them by the rule of docs/control-flow.md: written a second time, alone.

Nothing here looks at how the plan or the workflow decides.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows.outcome import StepState

ARGO = {"argo": {"manifest": "m.yaml"}}
ENDS = ("succeeded", "failed", "lost", "timed_out", "cancelled")
WORDS = {"failed": "failed", "lost": "lost", "timed_out": "timedOut", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Node:
    """A step.

    Attributes:
        needs: named under `needs`.
        mentions: whose state a parameter reads.
        asks: whose state `when` compares, and with what: (equal or not, state).
        all_of: `when` wants all of these, else one.
        continues: ends that let the run go on.
        comes_to: how it ends when it runs.
    """

    name: str
    needs: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    asks: Mapping[str, tuple[bool, str]] = field(default_factory=dict[str, tuple[bool, str]])
    all_of: bool = True
    continues: tuple[str, ...] = ()
    comes_to: str = "succeeded"

    @property
    def after(self) -> set[str]:
        return {*self.needs, *self.mentions, *self.asks}

    def step(self) -> dict[str, object]:
        """As a definition has it."""
        parts = [
            f"steps.{name}.state {'==' if equal else '!='} '{state}'" for name, (equal, state) in self.asks.items()
        ]
        return {
            **ARGO,
            "needs": list(self.needs),
            "parameters": {name: f"${{{{ steps.{name}.state }}}}" for name in self.mentions},
            "continueOn": [WORDS[state] for state in self.continues],
            **({"when": (" && " if self.all_of else " || ").join(parts)} if parts else {}),
        }


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps, and those of `finally`; both in any order."""

    steps: dict[str, Node]
    last: dict[str, Node] = field(default_factory=dict[str, Node])

    def states(self) -> dict[str, StepState]:
        """How every step ends, by the rule."""
        known: dict[str, str] = {}
        for name in self.steps:
            self._end(name, known)
        for name in self.last:
            self._end(name, known)
        return {name: StepState(state) for name, state in known.items()}

    def fails(self) -> str:
        """The first step of the definition's that fails the run; empty when none does."""
        states = self.states()
        good = ("succeeded", "skipped")
        bad = (n.name for n in self.steps.values() if states[n.name] not in good and states[n.name] not in n.continues)
        return next(bad, "")

    def _end(self, name: str, known: dict[str, str]) -> str:
        if name not in known:
            node = self.steps.get(name) or self.last[name]
            ends = {other: self._end(other, known) for other in node.after}
            known[name] = node.comes_to if self._runs(node, ends) else "skipped"
        return known[name]

    def _runs(self, node: Node, ends: Mapping[str, str]) -> bool:
        for other, end in ends.items():
            before = self.steps.get(other) or self.last[other]
            only_read = node.name in self.last and other in self.steps and other not in node.needs
            if other in node.asks or only_read or end == "succeeded" or end in before.continues:
                continue
            return False
        answers = [(ends[other] == state) is equal for other, (equal, state) in node.asks.items()]
        return not answers or (all(answers) if node.all_of else any(answers))


def random_graph(draw: random.Random, steps: int, last: int = 0, prefix: str = "") -> Graph:
    """Any graph without circles.

    Args:
        draw: decides; hypothesis shrinks its own.
        steps: how many at most.
        last: how many of `finally` at most.
        prefix: of all names.
    """
    names = [f"{prefix}s{i}" for i in range(draw.randint(1, steps))]
    nodes = [_node(draw, name, names[:i]) for i, name in enumerate(names)]
    ends = [f"{prefix}f{i}" for i in range(draw.randint(0, last))]
    finals = [_node(draw, name, [*names, *ends[:i]]) for i, name in enumerate(ends)]
    draw.shuffle(nodes)
    draw.shuffle(finals)
    return Graph({n.name: n for n in nodes}, {n.name: n for n in finals})


def _node(draw: random.Random, name: str, before: list[str]) -> Node:
    chosen = draw.sample(before, min(len(before), draw.randint(0, 3)))
    ways = {other: draw.choice(("needs", "mentions", "asks")) for other in chosen}
    return Node(
        name,
        needs=tuple(other for other in chosen if ways[other] == "needs"),
        mentions=tuple(other for other in chosen if ways[other] == "mentions"),
        asks={
            other: (draw.random() < 0.5, draw.choice((*ENDS, "skipped"))) for other in chosen if ways[other] == "asks"
        },
        all_of=draw.random() < 0.5,
        continues=tuple(state for state in WORDS if draw.random() < 0.3),
        comes_to=draw.choice(ENDS) if draw.random() < 0.5 else "succeeded",
    )
