"""What a compiled component would install: read from its own `pip install` lines.

The KFP compiler turns `packages_to_install` into a shell script in front of the component's program, and keeps them
nowhere else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

_LINE = re.compile(r"-m pip install\s+(?P<arguments>.+?)(?=&&|\n|$)")
_FLAGS = {"--quiet", "-q", "--no-warn-script-location", "--no-deps", "--upgrade", "-U", "--user", "--pre"}
_WITH_VALUE = {"--index-url", "--extra-index-url", "--trusted-host", "--find-links"}
_INDEX = ("--index-url", "--extra-index-url", "--find-links")
_OF_KFP = re.compile(r"^(kfp|typing[-_]extensions)\b(?!-)")


@dataclass(frozen=True, slots=True)
class Packages:
    """The set of requirements of a component.

    Attributes:
        requirements: sorted, without kfp itself: runs have the server's kfp.
        options: index options, as lines of a requirements file.
    """

    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """The same as a requirements file: equal sets give equal text, so they share one environment."""
        return "".join(f"{line}\n" for line in (*self.options, *self.requirements))


class UnknownOption(ValueError):
    """A `pip install` option that nobody here knows, so its effect would be lost."""


def packages_of(command: Sequence[str]) -> Packages:
    """Read the packages from a compiled component's command.

    Raises:
        UnknownOption: pip is called with an option that an environment cannot be made with; the message names it.
    """
    requirements: set[str] = set()
    options: list[str] = []
    for part in command[:3]:  # the script is in front; the component's own code comes after and is not looked at
        for match in _LINE.finditer(part):
            words = shlex.split(match["arguments"])
            while words:
                word = words.pop(0)
                if word in _FLAGS:
                    continue
                if word in _WITH_VALUE:
                    value = words.pop(0) if words else ""
                    line = f"{word} {value}"
                    if word in _INDEX and line not in options:
                        options.append(line)
                elif word.startswith("-"):
                    raise UnknownOption(word)
                elif not _OF_KFP.match(word):
                    requirements.add(word)
    return Packages(tuple(sorted(requirements)), tuple(options) if requirements else ())
