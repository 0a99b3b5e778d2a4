"""What came of one manifest, and the tally of many."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Verdict(StrEnum):
    """Refused: by name, when it was created. Fails here: accepted, and failed for all to see for want of something."""

    INTENDED = "as intended"
    REFUSED = "refused"
    FAILS_HERE = "fails here"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One manifest.

    Attributes:
        file: its path below the corpus.
        reason: why it was refused, in the server's words, or what was wrong.
        seconds: how long it took.
    """

    file: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0


class Expected(BaseModel):
    """What one manifest is meant to do, where that is not simply to succeed.

    Attributes:
        phase: the terminal phase or state that it is written to end in; `*` where it throws dice.
        why: what in the manifest says so.
        arguments: parameters to give it.
        set: output parameters to give its suspended node.
        logs: by a node's display name, a text that its log must contain.
        outputs: by a node's display name (`root`: of the whole run), the values of its output parameters.
        without: declared outputs of the run that a branch which is not taken leaves out.
        stop: verb to send once it runs, for manifests that never end by themselves.
        refused: a part of the real server's own refusal, where that is what the manifest meets there too.
        timeout: seconds that it may take, where that is more than usual.
        fails_here: why it fails visibly on one machine without containers: a network, a mount table.
    """

    model_config = ConfigDict(extra="forbid")

    phase: str = ""
    why: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, str] = Field(default_factory=dict)
    logs: dict[str, str] = Field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = Field(default_factory=dict)
    without: list[str] = Field(default_factory=list)
    stop: str = ""
    refused: str = ""
    timeout: float = 0.0
    fails_here: str = ""


def read_expected(file: Path) -> dict[str, Expected]:
    """Read a table of expectations, by the manifests' paths."""
    return {name: Expected.model_validate(entry) for name, entry in tomllib.loads(file.read_text()).items()}


def report(findings: Sequence[Finding], *, verbose: bool) -> str:
    """The tally, the reasons of refusals by their field, what failed here and why, and everything that went wrong."""
    counts = Counter(finding.verdict for finding in findings)
    total = len(findings) or 1
    lines = [f"{len(findings)} manifests"]
    lines += [f"  {verdict:<12} {counts[verdict]:>4}  {counts[verdict] / total:.0%}" for verdict in Verdict]
    refused = [finding for finding in findings if finding.verdict is Verdict.REFUSED]
    reasons = Counter(_field(finding.reason) for finding in refused)
    lines += ["", "refused for:"] if refused else []
    lines += [f"  {count:>3}  {reason}" for reason, count in reasons.most_common()]
    for verdict in Verdict:
        named = verbose or verdict in (Verdict.FAILS_HERE, Verdict.WRONG)
        shown = [finding for finding in findings if finding.verdict is verdict and named]
        lines += ["", f"{verdict}:"] if shown else []
        lines += [f"  {finding.file} ({finding.seconds:.1f} s) {_short(finding.reason)}".rstrip() for finding in shown]
    return "\n".join(lines)


def _field(reason: str) -> str:
    """A reason without the names that differ from manifest to manifest."""
    return re.sub(r"\[[^\]]*\]|(?<=templates\.)[\w-]+|(?<=executors\.)[\w-]+", "", reason.split(";", maxsplit=1)[0])[
        :140
    ]


def _short(reason: str) -> str:
    return " ".join(reason.split())[:400]
