"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomic(file: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file's content in one step.

    Raises:
        OSError: the folder is missing, full, or not writable; the old content is then untouched.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_private(file: Path, text: str) -> None:
    """The same, for content that its owner alone may read."""
    write_atomic(file, text, 0o600)
