"""Container paths on a host without containers.

Each container of a pod has a folder of its own that stands for its root, and volumes are folders beside it. Paths that
the manifest declares (of artifacts and parameters, mount paths, the working directory), and their parents, are moved
to these folders wherever they stand in the command, the arguments, the environment or the script. It is an
approximation: a path that a program puts together itself is not seen, and what lies outside the declared paths is the
host's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from hera.workflows import models as m

# Folders that programs rightly read from the host: a declared file in one of them does not move the folder itself.
_HOST = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/mnt", "/opt", "/proc", "/root", "/run",
     "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/var",
     "/var/lib", "/var/run", "/var/tmp"}
)  # fmt: skip


class PathMap:
    """Where the declared paths of a container lie on the host."""

    def __init__(self, root: Path, declared: Iterable[str], mounts: Mapping[str, Path] | None = None) -> None:
        """Map absolute container paths.

        Args:
            root: the folder that stands for the container's root; `declared` lie below it.
            declared: paths of the manifest.
            mounts: the host's folders or files that are mounted, by container path.
        """
        self._root = root
        self._mounts = {PurePosixPath(path): place for path, place in (mounts or {}).items()}
        moved = {str(PurePosixPath(path)) for path in [*declared, *(mounts or {})] if path.startswith("/")} - {"/"}
        for path in list(moved):
            moved |= {str(parent) for parent in PurePosixPath(path).parents} - _HOST
        longest_first = sorted(moved, key=len, reverse=True)
        # A path begins where no other path goes on, and ends where its last name ends
        alternatives = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(rf"(?<![\w./~-])(?:{alternatives})(?![\w-]|\.\w)") if moved else None

    @property
    def root(self) -> Path:
        return self._root

    def host(self, path: str) -> Path:
        """The host's path of a container path; a relative one lies below the container's root.

        Raises:
            ValueError: it leads upwards.
        """
        clean = PurePosixPath("/") / path
        if ".." in clean.parts:
            raise ValueError(f"path {path} leads upwards; give it without '..'")
        for above in (clean, *clean.parents):
            if above in self._mounts:
                return self._mounts[above] / clean.relative_to(above)
        return self._root / str(clean).lstrip("/")

    def rewrite(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: str(self.host(match.group(0))), text)

    def lay_out(self, folders: Iterable[str], parents: Iterable[str]) -> None:
        """Make what a container would find: an image's folders, its own, the parents of files, a link for each mount.

        The links are for programs that go there by relative paths.
        """
        for name in IMAGE_FOLDERS:
            (self._root / name).mkdir(parents=True, exist_ok=True)
        for path in sorted(self._mounts, key=lambda path: len(path.parts)):
            link = self._root / str(path).lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(self._mounts[path])
        for folder in folders:
            self.host(folder).mkdir(parents=True, exist_ok=True)
        for path in parents:
            self.host(path).parent.mkdir(parents=True, exist_ok=True)


IMAGE_FOLDERS = ("etc", "home", "media", "mnt", "opt", "root", "run", "srv", "tmp", "usr", "var/tmp")
"""What every usual image has. The folder of any other output is the container's to make, here as on a cluster."""


def input_paths(template: m.Template) -> set[str]:
    """The container paths of a template's input artifacts: they are mounted, so their parents are there."""
    return {artifact.path for artifact in (template.inputs or m.Inputs()).artifacts or [] if artifact.path}


def artifact_paths(template: m.Template) -> set[str]:
    """The container paths of a template's artifacts and parameters."""
    outputs = template.outputs or m.Outputs()
    found = {artifact.path for artifact in outputs.artifacts or []}
    found |= {p.value_from.path for p in outputs.parameters or [] if p.value_from}
    return input_paths(template) | {path for path in found if path}


def check_inside(path: Path, folders: Sequence[Path]) -> None:
    """Follow the links of a path that a container wrote.

    Raises:
        ValueError: it leads out of the folders.
    """
    real = path.resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in folders):
        raise ValueError(f"{path.name} is a link to {real}, which is not the pod's own")
