"""Questions to an engine, one after the other, each answered by a line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from workers.engines.base import EngineCheck, EngineHealth, Verdict
from workflows.errors import EngineRejected, MetaError

_NUMBERS = re.compile(r"v?(\d+)\.(\d+)")

VersionRange = tuple[tuple[int, int], tuple[int, int]]
"""Lowest and highest `(major, minor)` that an adapter was written for, both included."""


@dataclass
class Probe:
    """Collects the answers of one engine's probe."""

    checks: list[EngineCheck] = field(default_factory=list[EngineCheck])

    def add(self, name: str, verdict: Verdict, detail: str, hint: str = "") -> None:
        self.checks.append(EngineCheck(name, verdict, detail, hint))

    async def ask(
        self, name: str, question: Callable[[], Awaitable[str]], *, hint: str = "", no: Verdict = Verdict.FAIL
    ) -> bool:
        """Ask one thing.

        Args:
            name: of the check.
            question: returns what was found; raises what a client raises when the answer is no.
            hint: what to do about a refusal.
            no: the verdict when the answer is no.

        Returns:
            Whether the answer was yes.
        """
        try:
            self.add(name, Verdict.OK, await question())
        except MetaError as error:
            # A refusal is about what was asked, and the caller knows best what that needs.
            refused = isinstance(error, EngineRejected) and hint
            self.add(name, no, error.message, hint if refused else error.hint or hint)
            return False
        return True

    def version(self, product: str, version: str, known: VersionRange) -> None:
        """Note a server's version; one outside the known range is worth a warning, and works most of the time."""
        (low, high), found = known, _NUMBERS.match(version)
        if found is not None and low <= (int(found[1]), int(found[2])) <= high:
            self.add("version", Verdict.OK, f"{product} {version}")
            return
        span = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
        self.add(
            "version",
            Verdict.WARN,
            f"{product} {version} is not a version that is known here" if version else f"{product} does not say which",
            f"the adapter is written for {span}; try a run before you rely on it",
        )

    def health(self, version: str, message: str) -> EngineHealth:
        """What it comes to.

        Args:
            version: of the server; empty when it was not told.
            message: what the engine is, for when all is well.
        """
        failed = next((check for check in self.checks if check.verdict is Verdict.FAIL), None)
        checks = tuple(self.checks)
        if failed is not None:
            return EngineHealth(ok=False, version=version, message=failed.detail, hint=failed.hint, checks=checks)
        return EngineHealth(ok=True, version=version, message=message, checks=checks)
