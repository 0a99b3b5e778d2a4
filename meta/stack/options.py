"""What a caller can choose about an embedded stack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meta.stack.events import Listener, silent
from meta.stack.names import PartName, PortName


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options of one stack.

    Attributes:
        data_dir: everything the stack keeps; made when missing.
        parts: the parts to start, and those they need; None is all of them.
        images: images tables beside the catalogue's own.
        environments: folder of the cached Python environments; None is `environments` in the data folder. Stacks may
            share one.
        arguments: further command-line options of the sandbox engines, by part.
        ports: ports that must be these. A port that is not given stays what it was in this data folder, if free.
        well_known_ports: try the servers' usual ports first. For people; stacks that run side by side take free ones.
        ready_timeout: seconds for each part to answer after its start (the environments have `install_timeout`).
        install_timeout: seconds to install the steps' Python environments the first time.
        listener: told of everything that happens, in the supervisor's event loop.
    """

    data_dir: Path = Path(".meta")
    parts: Collection[PartName | str] | None = None
    images: Sequence[Path] = ()
    environments: Path | None = None
    arguments: Mapping[PartName, Sequence[str]] = field(default_factory=dict[PartName, Sequence[str]])
    ports: Mapping[PortName, int] = field(default_factory=dict[PortName, int])
    well_known_ports: bool = False
    ready_timeout: float = 60.0
    install_timeout: float = 1200.0
    listener: Listener = silent

    @property
    def folder(self) -> Path:
        return self.data_dir.absolute()

    @property
    def environments_folder(self) -> Path:
        return self.environments.absolute() if self.environments else self.folder / "environments"
