"""Container paths on a host without containers.

A pod has a folder of its own that stands for the container's root. Paths that the manifest declares (of artifacts and
parameters, mount paths, the working directory), and their parents, are moved below that folder wherever they stand in
the command, the arguments, the environment or the script. It is an approximation: a path that a program puts together
itself is not seen, and what lies outside the declared paths is the host's.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hera.workflows import models as m

# Folders that programs rightly read from the host: a declared file in one of them does not move the folder itself.
_HOST = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/mnt", "/opt", "/proc", "/root", "/run",
     "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/var",
     "/var/lib", "/var/run", "/var/tmp"}
)  # fmt: skip


class PathMap:
    """Where the declared paths of a template lie on the host."""

    def __init__(self, root: Path, declared: set[str]) -> None:
        """Map `declared` (absolute container paths) below `root`."""
        self._root = root
        moved = {str(PurePosixPath(path)) for path in declared if path.startswith("/")} - {"/"}
        for path in list(moved):
            moved |= {str(parent) for parent in PurePosixPath(path).parents} - _HOST
        longest_first = sorted(moved, key=len, reverse=True)
        # A path begins where no other path goes on, and ends where its last name ends
        alternatives = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(rf"(?<![\w./~-])(?:{alternatives})(?![\w-]|\.\w)") if moved else None

    def host(self, path: str) -> Path:
        """The host's path of a container path; a relative one lies below the container's root."""
        clean = PurePosixPath("/") / path
        if ".." in clean.parts:
            raise ValueError(f"path {path} leads upwards; give it without '..'")
        return self._root / str(clean).lstrip("/")

    def rewrite(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: str(self.host(match.group(0))), text)


def declared_paths(template: m.Template) -> set[str]:
    """Every container path that a template names."""
    found: set[str | None] = set()
    for values in (template.inputs or m.Inputs(), template.outputs or m.Outputs()):
        found |= {artifact.path for artifact in values.artifacts or []}
        found |= {p.value_from.path for p in values.parameters or [] if p.value_from}
    container = template.container or template.script
    if container is not None:
        found |= {mount.mount_path for mount in container.volume_mounts or []}
        found.add(container.working_dir)
    return {path for path in found if path}
