"""What an import tells: what it could not carry over, what it carried in another way, what is still to be filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meta.importing.documents import At


class Weight(StrEnum):
    """What a remark means for whoever imports."""

    FILL_IN = "fill_in"
    """The definition cannot be published, or cannot run, before somebody fills it in."""
    LEFT_OUT = "left_out"
    """The source says it, the definition does not."""
    DIFFERS = "differs"
    """It is carried over, though not to the letter."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about an import.

    Attributes:
        place: `file:line:column` in the source.
        what: what the source says there.
        do: what to do about it.
    """

    weight: Weight
    place: str
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" + (f"; {self.do}" if self.do else "")


@dataclass
class Report:
    """Remarks in the order of the source, and how the guarantees differ."""

    remarks: list[Remark] = field(default_factory=list[Remark])
    guarantees: list[str] = field(default_factory=list[str])

    def left_out(self, at: At, what: str, do: str = "") -> None:
        self._add(Weight.LEFT_OUT, at, what, do)

    def differs(self, at: At, what: str, do: str = "") -> None:
        self._add(Weight.DIFFERS, at, what, do)

    def differs_once(self, at: At, what: str, do: str = "") -> None:
        """The same words, at the first place alone."""
        if all(remark.what != what for remark in self.remarks):
            self.differs(at, what, do)

    def fill_in(self, at: At, what: str, do: str = "") -> None:
        self._add(Weight.FILL_IN, at, what, do)

    def unknown(self, at: At, known: frozenset[str], kind: str) -> None:
        """Say which keys of an object are not known, so that nothing is lost without a word."""
        for key, where, near in at.unknown(known):
            self.left_out(where, f"{kind} has no key '{key}'", near)

    def sort(self) -> None:
        """Bring the remarks in the order of the files."""
        self.remarks.sort(key=lambda one: [int(p) if p.isdigit() else p for p in one.place.rsplit(":", 2)])

    def of(self, weight: Weight) -> list[Remark]:
        return [remark for remark in self.remarks if remark.weight is weight]

    def _add(self, weight: Weight, at: At, what: str, do: str) -> None:
        remark = Remark(weight, at.place, what, do)
        if remark not in self.remarks:
            self.remarks.append(remark)
