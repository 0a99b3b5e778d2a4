"""From a file to definitions, and from them to files."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from meta.importing.documents import At, ImportRefused, read_documents
from meta.importing.draft import DefinitionDraft
from meta.importing.kfp_body import Pipelines
from meta.importing.options import Options
from meta.importing.report import Report
from meta.importing.sensor import import_sensor
from meta.importing.sources import Subjects, event_sources
from meta.importing.template import import_template
from meta.importing.values import AS_TEXT
from workflows.bundle import build_bundle
from workflows.errors import Conflict, DefinitionInvalid, Problem
from workflows.spec.subjects import subject_fault
from workflows.yaml_text import yaml_text

_TEMPLATES = ("WorkflowTemplate", "ClusterWorkflowTemplate", "Workflow")
_TEXT = f"{AS_TEXT} beside an expression makes its value text, as Argo's parameters are."


@dataclass(frozen=True)
class Imported:
    """What a file has become.

    Attributes:
        problems: why a definition cannot be published as it is, each with its place in what is written.
    """

    drafts: list[DefinitionDraft]
    report: Report
    source: Path
    problems: list[Problem] = field(default_factory=list[Problem])

    def texts(self, draft: DefinitionDraft) -> dict[str, str]:
        """The files of a definition, by their path in its folder."""
        head = [f"Imported by `meta import` from {self.source.name}."]
        body = yaml_text(draft.as_object())
        if AS_TEXT in body:
            head.append(_TEXT)
        return {"workflow.yaml": yaml_text(draft.as_object(), head=head), **draft.files}


def import_file(file: Path, options: Options) -> Imported:
    """Turn a Sensor or a WorkflowTemplate into definitions; nothing is written.

    Raises:
        ImportRefused: a file that cannot be read, of another kind, or in which nothing starts an engine run.
        DefinitionInvalid: broken YAML, with every place.
    """
    for subject in options.subjects.values():
        if fault := subject_fault(subject, wildcards=True):
            raise ImportRefused(f"--subject {subject}: {fault}")
    documents = read_documents(file)
    report = Report()
    subject = _subject_of(documents, file)
    if subject.text("kind") == "Sensor":
        others = [one for path in options.event_sources for one in read_documents(path)]
        subjects = Subjects(event_sources([*documents, *others], report), options.subjects, options.stream)
        drafts = import_sensor(subject, subjects, Pipelines(options.pipelines), report)
    else:
        drafts = [import_template(subject, options, report)]
    report.sort()
    imported = Imported(drafts, report, file)
    return Imported(drafts, report, file, _problems(imported))


def write(imported: Imported, folder: Path | None, *, force: bool = False) -> list[Path]:
    """Write the definitions with their files.

    Args:
        imported: of `import_file`.
        folder: of the definition; of several, a folder for each in it. By default one of the definition's name.
        force: write over files that are there.

    Returns:
        What was written, the definition before its files.

    Raises:
        Conflict: a file is there already; nothing is written then.
    """
    texts: dict[Path, str] = {}
    for draft in imported.drafts:
        base = Path(draft.name) if folder is None else folder if len(imported.drafts) == 1 else folder / draft.name
        texts |= {base / name: text for name, text in imported.texts(draft).items()}
    there = [path for path in texts if path.exists()]
    if there and not force:
        raise Conflict(
            f"{', '.join(map(str, there))}: there already", hint="--force writes over them, --output-dir elsewhere"
        )
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _subject_of(documents: list[At], file: Path) -> At:
    """The one document that is imported.

    Raises:
        ImportRefused: there is none, or there are several.
    """
    found = [one for one in documents if one.text("kind") == "Sensor"]
    found = found or [one for one in documents if one.text("kind") in _TEMPLATES]
    if len(found) == 1:
        return found[0]
    kinds = ", ".join(one.text("kind") or "something without a kind" for one in documents)
    if not found:
        raise ImportRefused(
            f"{file}: nothing to import: {kinds}",
            hint="give a Sensor of Argo Events, or a WorkflowTemplate that starts KFP runs",
        )
    raise ImportRefused(f"{file}: {len(found)} things to import: {kinds}", hint="put each into a file of its own")


def _problems(imported: Imported) -> list[Problem]:
    """What is wrong with the definitions as they would be written."""
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory() as folder:
        for draft in imported.drafts:
            base = Path(folder) / draft.name
            base.mkdir()
            for name, text in imported.texts(draft).items():
                (base / name).write_text(text, encoding="utf-8")
            try:
                build_bundle(base / "workflow.yaml")
            except DefinitionInvalid as error:
                where = "workflow.yaml" if len(imported.drafts) == 1 else f"{draft.name}/workflow.yaml"
                problems += [Problem(p.message, where, p.line, p.column, p.path, p.hint) for p in error.problems]
    return problems
