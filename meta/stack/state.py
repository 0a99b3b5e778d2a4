"""What a stack leaves in its data folder: stack.json, and the lock that makes it the only one there."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meta.stack.files import write_atomic
from meta.stack.names import PartName, PortName
from workflows.errors import DataDirBroken, HostError

VERSION = 1


class PartState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    DONE = "done"


class StackPhase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ProcessMark(BaseModel):
    """A process that no later one with the same number can be taken for. See `meta.stack.leftovers`."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    started: str


class PartRecord(BaseModel):
    """One part, as `meta status` shows it.

    Attributes:
        group: its guard, whose number is that of the process group.
        pid: the server itself.
        restarts: since the stack started.
        address: for people.
    """

    model_config = ConfigDict(extra="ignore")

    state: PartState = PartState.WAITING
    group: ProcessMark | None = None
    pid: int = 0
    restarts: int = 0
    address: str = ""


class StackState(BaseModel):
    """Content of stack.json."""

    model_config = ConfigDict(extra="ignore")

    version: int = VERSION
    instance: str = Field(default_factory=lambda: uuid.uuid4().hex, description="In every child's environment.")
    phase: StackPhase = StackPhase.STOPPED
    supervisor: ProcessMark | None = None
    ports: dict[PortName, int] = Field(default_factory=dict)
    parts: dict[PartName, PartRecord] = Field(default_factory=dict)
    addresses: dict[str, str] = Field(default_factory=dict)


class DataFolder:
    """The data folder of a stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock: int | None = None

    @property
    def state_file(self) -> Path:
        return self.folder / "stack.json"

    def make(self) -> None:
        """Make the folder and see that it can be used.

        Raises:
            DataDirBroken: a file is in its place, or it cannot be written.
        """
        mend = "choose another with --data-dir, or mend the folder's owner and rights"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise DataDirBroken(f"{self.folder} is a file, not a folder", hint="choose another --data-dir") from error
        except OSError as error:
            raise DataDirBroken(f"cannot make the data folder {self.folder}: {error.strerror}", hint=mend) from error
        probe = self.folder / ".writable"
        try:
            write_atomic(probe, "")
            probe.unlink()
        except OSError as error:
            raise DataDirBroken(
                f"cannot write into the data folder {self.folder}: {error.strerror}", hint=mend
            ) from error

    def load(self) -> StackState:
        """The last state; a fresh one when there is none.

        Raises:
            DataDirBroken: the file is damaged, or a newer version of this program wrote it.
        """
        try:
            text = self.state_file.read_text()
        except FileNotFoundError:
            return StackState()
        except (OSError, UnicodeDecodeError) as error:
            raise self._broken(str(error)) from error
        try:
            state = StackState.model_validate_json(text)
        except ValidationError as error:
            version = _version_of(text)
            if version is not None and version > VERSION:
                raise self._newer(version) from error
            first = error.errors(include_url=False)[0]
            raise self._broken(f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error
        if state.version > VERSION:
            raise self._newer(state.version)
        return state

    def save(self, state: StackState) -> None:
        """Replace stack.json in one step.

        Raises:
            DataDirBroken: the disk is full or the folder is gone.
        """
        try:
            write_atomic(self.state_file, state.model_dump_json(indent=2) + "\n", 0o600)
        except OSError as error:
            raise DataDirBroken(
                f"cannot write {self.state_file}: {error.strerror}", hint="see that the disk has room (df -h)"
            ) from error

    def lock(self) -> None:
        """Become the folder's only supervisor, until `unlock` or the end of this process.

        Raises:
            HostError: another one is at work there.
        """
        descriptor = os.open(self.folder / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise HostError(
                f"a stack is already at work in {self.folder}" + (f" (pid {holder})" if holder else ""),
                hint=f"`meta status --data-dir {self.folder}` shows it, `meta down --data-dir {self.folder}` stops it; "
                "for a second one give another --data-dir",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_locked(self) -> bool:
        """Whether a supervisor is at work there."""
        try:
            descriptor = os.open(self.folder / "stack.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # no folder, or never used
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def wait_unlocked(self, timeout: float) -> bool:
        """Wait until no supervisor is at work there.

        Args:
            timeout: seconds.

        Returns:
            False if the time was over first.
        """
        end = time.monotonic() + timeout
        while self.is_locked():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _broken(self, why: str) -> DataDirBroken:
        return DataDirBroken(
            f"{self.state_file} is damaged: {why}",
            hint="remove the file: only ports and process numbers stand in it; runs and artifacts stay",
        )

    def _newer(self, version: int) -> DataDirBroken:
        return DataDirBroken(
            f"{self.folder} was written by a newer meta-workflows (format {version}; this one knows {VERSION})",
            hint="update meta-workflows, or choose another --data-dir",
        )


class _Version(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: int


def _version_of(text: str) -> int | None:
    try:
        return _Version.model_validate_json(text).version
    except ValidationError:  # not even that
        return None
