"""A bundle: a definition with the files it names, addressed by the digest of its content.

The client builds it; the service stores it once; a run keeps it for life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from workflows.errors import BundleInvalid, DefinitionInvalid, Problem
from workflows.manifests import ManifestInfo, ManifestUnreadable, inspect_manifest
from workflows.manifests.inspect import MAX_FILE
from workflows.outcome import EngineKind
from workflows.python_files import python_pipeline
from workflows.spec.loading import Parsed, in_order, parse_definition
from workflows.spec.locate import NOWHERE, Locator
from workflows.spec.locate import Path as Place
from workflows.spec.models import COMPENSATE, MetaWorkflow
from workflows.spec.validation import MAX_DEFINITION, validate
from workflows.spec.writing import write_definition
from workflows.values import JsonObject, canonical_json, digest_of

MAX_BUNDLE = 8 << 20
"""Most bytes that the files of a bundle may have together (8 MiB)."""


class Bundle(BaseModel):
    """A definition and its files.

    Attributes:
        definition: as validated.
        files: text of every file that a step names, by the path the definition gives; of a Python file the compiled
            pipeline.
        source: the definition's own text, comments included; it does not count in the digest.
    """

    model_config = ConfigDict(frozen=True)

    definition: MetaWorkflow
    files: dict[str, str]
    source: str = ""

    @cached_property
    def digest(self) -> str:
        """`sha256:...` over the canonical JSON of definition and files."""
        files: JsonObject = dict(self.files)
        return digest_of(canonical_json({"definition": _plain(self.definition), "files": files}))


def build_bundle(file: Path) -> Bundle:
    """Read a definition and every file that its steps name; compile pipelines that are named as Python.

    Args:
        file: the definition: YAML, or a Python file with a `meta.dsl.MetaWorkflow` (`chain.py:name` for one of
            several), which runs in a process of its own. Paths in it are relative to its folder and stay inside.

    Raises:
        BundleInvalid: the definition's file cannot be read.
        DefinitionInvalid: with every problem in the definition and in its files, each with its place.
    """
    python = python_pipeline(str(file))
    if python is None:
        source = _read_definition(file)
        return bundle_of(parse_definition(source, str(file)), file.parent, source)
    from workflows.dsl.files import read_flow  # what runs processes is loaded at need

    parsed = read_flow(python)
    return bundle_of(parsed, Path(python.file).parent)


def bundle_of(parsed: Parsed, folder: Path, source: str = "") -> Bundle:
    """Gather the files that a definition names.

    Args:
        parsed: the definition, and what is wrong with it so far.
        folder: what its paths are relative to.
        source: its text; written when it has none.

    Raises:
        DefinitionInvalid: with every problem.
    """
    definition, locator, problems = parsed.definition, parsed.locator, list(parsed.problems)
    readable = definition or parsed.remains
    files: dict[str, str] = {}
    for place, kind, path in _files(readable) if readable is not None else ():
        if path in files:
            continue
        try:
            files[path] = _content(folder, path, kind)
        except BundleInvalid as error:
            problems.append(locator.problem(place, error.message, hint=error.hint))
    if definition is not None:
        problems.extend(_check(definition, files, locator))
    if problems or definition is None:
        raise DefinitionInvalid(in_order(problems))
    return Bundle(definition=definition, files=files, source=source or write_definition(definition))


def validate_bundle(bundle: Bundle) -> list[Problem]:
    """Check a bundle that somebody else built, as strictly as `build_bundle`.

    Returns:
        Every problem, with lines and columns of `source` where that is the definition's text.
    """
    locator = NOWHERE
    if bundle.source:
        parsed = parse_definition(bundle.source)
        if parsed.definition is not None and _plain(parsed.definition) == _plain(bundle.definition):
            locator = parsed.locator
    problems: list[Problem] = []
    named: set[str] = set()
    for place, _, path in _files(bundle.definition):
        named.add(path)
        if path not in bundle.files:
            message, hint = f"the bundle has no file '{path}'", "send the files with the definition"
            problems.append(locator.problem(place, message, hint=hint))
    for path in bundle.files:
        if path not in named:
            problems.append(locator.problem((), f"no step names the bundle's file '{path}'", hint="leave it out"))
    problems.extend(_check(bundle.definition, bundle.files, locator))
    return in_order(problems)


def _check(definition: MetaWorkflow, files: Mapping[str, str], locator: Locator) -> list[Problem]:
    """Problems of the files that could be read, and of the definition in their light."""
    problems: list[Problem] = []
    manifests: dict[str, list[ManifestInfo]] = {}
    for place, kind, path in _files(definition):
        if path not in files:
            continue
        try:
            found = inspect_manifest(files[path], kind, path)
        except ManifestUnreadable as error:
            problems.append(locator.problem(place, error.message, hint=error.hint))
        else:
            manifests.setdefault(_step_at(place), []).append(found)
    total = sum(len(text.encode(errors="replace")) for text in files.values())
    if total > MAX_BUNDLE:
        message = f"the files have {total:,} bytes together, {MAX_BUNDLE:,} at most"
        problems.append(locator.problem(("steps",), message, hint="split the chain, or keep data out of manifests"))
    return [*problems, *validate(definition, locator, manifests)]


def _read_definition(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_DEFINITION:
            raise BundleInvalid(
                f"{file} has {file.stat().st_size:,} bytes, a definition {MAX_DEFINITION:,} at most",
                hint="keep manifests in files of their own",
            )
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleInvalid(f"there is no file {file}", hint=_near(file.parent, file.name)) from None
    except IsADirectoryError:
        raise BundleInvalid(f"{file} is a folder", hint="name the definition in it, as workflow.yaml") from None
    except UnicodeDecodeError:
        raise BundleInvalid(f"{file} is not UTF-8 text", hint="save it as UTF-8") from None
    except OSError as error:
        raise BundleInvalid(f"{file} cannot be read: {error.strerror}") from error


def _content(folder: Path, name: str, kind: EngineKind) -> str:
    """What the bundle holds under a name: a file's text, or the pipeline that a Python file compiles to.

    Raises:
        BundleInvalid: see `_read_inside`; and a Python file that does not compile.
    """
    if kind is EngineKind.KFP and (pipeline := python_pipeline(name)) is not None:
        from workflows.compiling import compile_pipeline  # what runs processes is loaded at need

        _read_inside(folder, pipeline.file)
        return compile_pipeline(folder, pipeline)
    return _read_inside(folder, name)


def _read_inside(folder: Path, name: str) -> str:
    """Text of a file that a definition names.

    Raises:
        BundleInvalid: it is outside the folder, missing, too large, or no text.
    """
    path = folder / name
    outside = PurePosixPath(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve())
    if outside:
        raise BundleInvalid(
            f"'{name}' is outside the definition's folder", hint="put the file beside the definition or below it"
        )
    try:
        if path.stat().st_size > MAX_FILE:
            raise BundleInvalid(
                f"{name} has {path.stat().st_size:,} bytes, {MAX_FILE:,} at most",
                hint="keep data out of it; pass an artifact",
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleInvalid(f"there is no file '{name}'", hint=_near(folder, name)) from None
    except UnicodeDecodeError:
        raise BundleInvalid(f"'{name}' is not UTF-8 text") from None
    except OSError as error:
        raise BundleInvalid(f"'{name}' cannot be read: {error.strerror}") from error


def _near(folder: Path, name: str) -> str:
    """The closest file in the folder to one that is not there."""
    try:
        below = (folder / name).parent
        present = [p.relative_to(folder).as_posix() for p in below.iterdir() if p.is_file()]
    except (OSError, ValueError):  # no such folder: there is nothing to suggest
        return ""
    matches = get_close_matches(name, present, n=3, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(repr(m) for m in matches)}?"
    return "there is no file like it in the folder"


def _files(definition: MetaWorkflow) -> Iterator[tuple[Place, EngineKind, str]]:
    """Every file that something in a definition names: where, for which kind of engine, its path."""
    for at, step in definition.placed():
        for kind, path in step.files.items():
            yield (*at, kind.value, _KEYS[kind]), kind, path


def _step_at(place: Place) -> str:
    """The name of what runs, as `MetaWorkflow.step` knows it, from where its file is named."""
    return (COMPENSATE if place[2] == "compensate" else "") + str(place[1])


_KEYS = {EngineKind.ARGO: "manifest", EngineKind.KFP: "package"}


def _plain(definition: MetaWorkflow) -> JsonObject:
    """The same for equal definitions, whether a default was written out or not."""
    return definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
