"""The one error tree.

    MetaError
    ├── InvalidInput                  what the user gave is wrong; the message names the place and the mend
    │   ├── DefinitionInvalid         a definition, with every problem found (line, column, hint)
    │   ├── BundleInvalid             a file that a definition names: missing, of neither engine, too large
    │   ├── InputsInvalid             inputs of a run: unknown, missing, of a wrong type, too large
    │   ├── UseCaseUnsettled          a step's use case that has no engine, or one for whose kind the step has nothing
    │   ├── ExpressionFailed          an expression that could not be evaluated on the values at hand
    │   ├── EventMalformed            a message whose bytes or headers cannot be read
    │   └── SettingsInvalid           meta.toml, an option, an environment variable
    ├── NotFound                      no such workflow, run, bundle, engine
    ├── Conflict                      the same request id with other inputs; a name in use; decided otherwise
    ├── NotAllowed                    an approval whose approvers are others
    ├── EngineError                   what went wrong at an engine
    │   ├── EngineUnavailable         the API is down or overloaded: tried again, costs no attempt
    │   ├── EngineFull                the engine's own limit in meta.toml is reached: waits, costs no attempt
    │   ├── EngineRejected            the engine refused: a bad manifest, no right; fails at once
    │   ├── EngineRunForeign          a run of our name carries another key or digest
    │   ├── EngineRunFailed           the engine run failed: the step's retry policy decides
    │   ├── EngineRunLost             its result can no longer be read
    │   ├── EngineRunTimedOut         it took longer than its time-out
    │   └── EngineRunCancelled        somebody ended it
    ├── ArtifactError                 an object that is missing, unreadable, or not what its digest says
    │   └── ArtifactStoreUnavailable  the object store does not answer: tried again, costs no attempt
    ├── ServiceUnavailable            the service or a server it stands on does not answer
    └── HostError                     this machine: a port taken, a binary missing, a broken data folder
        ├── PortTaken
        ├── BinaryMissing
        ├── DataDirBroken
        └── PackageShadowed           another package named workflows, workers or meta is in the way

Every error has a stable `code` (it crosses gRPC and Temporal's histories), says what happened and what to do next,
and knows whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class MetaError(Exception):
    """Base of all errors that this project raises on purpose.

    Args:
        message: what happened, and where.
        hint: what to do next; shown on a line of its own.

    Attributes:
        retry_after: seconds after which trying again makes sense; None leaves it to who tries.
    """

    code: ClassVar[str] = "META_ERROR"
    retryable: ClassVar[bool] = False
    retry_after: float | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        message: what is wrong.
        file: the file as the user named it; empty for a definition that came over the API.
        line: from 1; 0 when the place is the whole file.
        column: from 1; 0 when unknown.
        path: where in the document, as `steps.train.parameters.learning_rate`.
        hint: the mend, as "did you mean 'train'?"; empty when there is none to offer.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = self.file or "definition"
        if self.line:
            place += f":{self.line}:{self.column}"
        where = f" [{self.path}]" if self.path else ""
        return f"{place}: {self.message}{where}" + (f"; {self.hint}" if self.hint else "")


class InvalidInput(MetaError):
    """What the user gave is wrong; trying again with the same cannot help."""

    code = "INVALID_INPUT"


class DefinitionInvalid(InvalidInput):
    """A definition with every problem that was found in it, in the order of the file."""

    code = "DEFINITION_INVALID"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__("\n".join(str(p) for p in self.problems) or "the definition is invalid")
        self.summary = f"{count} problem{'s' if count != 1 else ''}"


class BundleInvalid(InvalidInput):
    code = "BUNDLE_INVALID"


class InputsInvalid(InvalidInput):
    code = "INPUTS_INVALID"


class UseCaseUnsettled(InvalidInput):
    """The table of use cases names no engine that a step can run on."""

    code = "USE_CASE_UNSETTLED"


class ExpressionFailed(InvalidInput):
    code = "EXPRESSION_FAILED"


class EventMalformed(InvalidInput):
    code = "EVENT_MALFORMED"


class SettingsInvalid(InvalidInput):
    code = "SETTINGS_INVALID"


class NotFound(MetaError):
    code = "NOT_FOUND"


class Conflict(MetaError):
    code = "CONFLICT"


class NotAllowed(MetaError):
    """Whoever asks is none of those who may."""

    code = "NOT_ALLOWED"


class EngineError(MetaError):
    code = "ENGINE_ERROR"


class EngineUnavailable(EngineError):
    """The API is down, overloaded, or answered in a way that says nothing about the run."""

    code = "ENGINE_UNAVAILABLE"
    retryable = True


class EngineFull(EngineError):
    """As many runs are under way, or were submitted of late, as the engine's settings allow."""

    code = "ENGINE_FULL"
    retryable = True


class EngineRejected(EngineError):
    code = "ENGINE_REJECTED"


class EngineRunForeign(EngineRejected):
    code = "ENGINE_RUN_FOREIGN"


class EngineRunFailed(EngineError):
    code = "ENGINE_RUN_FAILED"


class EngineRunLost(EngineError):
    code = "ENGINE_RUN_LOST"


class EngineRunTimedOut(EngineError):
    code = "ENGINE_RUN_TIMED_OUT"


class EngineRunCancelled(EngineError):
    code = "ENGINE_RUN_CANCELLED"


class ArtifactError(MetaError):
    code = "ARTIFACT_ERROR"


class ArtifactStoreUnavailable(ArtifactError):
    code = "ARTIFACT_STORE_UNAVAILABLE"
    retryable = True


class ServiceUnavailable(MetaError):
    code = "SERVICE_UNAVAILABLE"
    retryable = True


class HostError(MetaError):
    code = "HOST_ERROR"


class PortTaken(HostError):
    code = "PORT_TAKEN"


class BinaryMissing(HostError):
    code = "BINARY_MISSING"


class DataDirBroken(HostError):
    code = "DATA_DIR_BROKEN"


class PackageShadowed(HostError):
    code = "PACKAGE_SHADOWED"
