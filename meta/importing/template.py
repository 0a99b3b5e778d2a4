"""A WorkflowTemplate that starts KFP runs (`kfp-trigger`) as a definition.

Its templates that post to KFP become kfp steps; what they are given becomes inputs, which the trigger takes from the
message's fields of the same names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from meta.importing.documents import At, ImportRefused
from meta.importing.draft import DefinitionDraft, StepDraft, TriggerDraft, free, label_of, name_of
from meta.importing.guarantees import Delivery, guarantees
from meta.importing.kfp_body import Pipelines, kfp_step
from meta.importing.options import Options
from meta.importing.paths import NotCarried, cel_string, read
from meta.importing.report import Report
from meta.importing.requests import mentions_start, request_of
from meta.importing.template_inputs import UNKNOWN, Inputs, parameters_of, tags
from meta.importing.values import AS_TEXT
from workflows.expressions.templates import parse_template, walk_strings
from workflows.values import JsonObject


def import_template(document: At, options: Options, report: Report) -> DefinitionDraft:
    """Turn a WorkflowTemplate into a definition.

    Args:
        document: the WorkflowTemplate, ClusterWorkflowTemplate or Workflow.
        options: the subject under an empty name is the trigger's.
        report: told what is not carried over.

    Raises:
        ImportRefused: no template in it starts a KFP run that can be followed.
    """
    spec, metadata = document["spec"], document["metadata"]
    name = metadata.text("name") or metadata.text("generateName").rstrip("-")
    draft = DefinitionDraft(label_of(name or "kfp-trigger"), f"Imported from the Argo {document.text('kind')} {name}")
    making = _Making(
        {one.text("name"): one for one in spec["templates"].items()}, parameters_of(spec["arguments"]),
        Inputs(options.parameters), draft, Pipelines(options.pipelines), report,
    )  # fmt: skip
    for call in making.calls(spec.text("entrypoint")):
        making.step(call)
    if not draft.steps:
        reasons = "".join(f"\n{remark}" for remark in report.remarks)
        raise ImportRefused(
            f"{document.place}: no template of '{name}' starts a KFP run in a way that can be followed{reasons}",
            hint="followed are http templates, curl in a shell and Python's requests that post to /apis/v2beta1/runs",
        )
    making.trigger(document, options)
    report.guarantees = guarantees(Delivery(sensor=False))
    return draft


@dataclass(frozen=True)
class _Call:
    """A task that calls a template, with what it gives it."""

    name: str
    at: At
    template: At | None
    arguments: Mapping[str, str]
    needs: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class _Making:
    """A definition that is made of a WorkflowTemplate.

    Attributes:
        templates: by name.
        outer: parameters of the workflow, with their defaults.
        names: of the steps, by the task that they were.
    """

    templates: Mapping[str, At]
    outer: Mapping[str, str | None]
    inputs: Inputs
    draft: DefinitionDraft
    pipelines: Pipelines
    report: Report
    names: dict[str, str] = field(default_factory=dict[str, str])

    def calls(self, entrypoint: str) -> list[_Call]:
        """What the entrypoint calls; of a library without one, every template that starts a run."""
        entry = self.templates.get(entrypoint)
        if entry is not None and "dag" in entry:
            return [_task(one, tuple(_depends(one))) for one in entry["dag"]["tasks"].items()]
        if entry is not None and "steps" in entry:
            groups = [group.items() for group in entry["steps"].items()]
            before: list[tuple[str, ...]] = [(), *(tuple(one.text("name") for one in group) for group in groups)]
            return [_task(one, needs) for group, needs in zip(groups, before, strict=False) for one in group]
        if entry is not None:
            return [_Call(entrypoint, entry, entry, {})]
        return [_Call(name, at, at, {}) for name, at in self.templates.items() if mentions_start(at)]

    def step(self, call: _Call) -> None:
        """Add the step that does what a call does, or say why there is none."""
        template, report = call.template or self.templates.get(call.target), self.report
        if template is None or not mentions_start(template):
            report.left_out(call.at, f"'{call.name}' starts no KFP run", "make it a step of its own, or leave it")
            return
        try:
            request = request_of(template, tags(template, call.arguments, self.outer, self.inputs))
            name = free(name_of(call.name), {step.name: step for step in self.draft.steps})
            body = self._settled(request.body, request.at)
            step = kfp_step(body, request.at, name, self.pipelines, report)
        except NotCarried as reason:
            report.left_out(call.at, f"'{call.name}' is left out: {reason}", "the service waits for runs by itself")
            return
        self.names[call.name] = name
        step.needs = [self.names[one] for one in call.needs if one in self.names]
        _drop_unknown(step, request.at, report)
        for key in ("retryStrategy", "timeout", "activeDeadlineSeconds"):
            if key in template:
                report.left_out(template[key], f"{key} of the request; a step has 'retry' and 'timeout' of the run")
        self.draft.steps.append(step)

    def _settled(self, body: JsonObject, at: At) -> JsonObject:
        """The pipeline that a parameter names becomes its default: what runs is the definition's, not the message's."""
        reference = body.get("pipeline_version_reference")
        if not isinstance(reference, dict):
            return body
        settled: JsonObject = {}
        for key, value in reference.items():
            whole = parse_template(value).whole if isinstance(value, str) else None
            settled[key] = value
            if whole is None:
                continue
            name = next((n for n in self.inputs.declared if whole.text == f"inputs.{name_of(n)}"), "")
            default = self.inputs.declared.get(name, {}).get("default")
            if whole.text.startswith("'"):
                settled[key] = whole.text[1:-1]
            elif isinstance(default, str) and default:
                self.report.differs(at, f"{key} is parameter '{name}'; here it is its default, for good",
                               f"import once for each pipeline, with --parameter {name}=ID")  # fmt: skip
                settled[key] = default
                del self.inputs.declared[name]
            elif name:
                raise NotCarried(
                    f"{key} is parameter '{name}', and no message chooses what runs: import once for each pipeline,"
                    f" with --parameter {name}=ID"
                )
        return {**body, "pipeline_version_reference": settled}

    def trigger(self, document: At, options: Options) -> None:
        """Add the trigger, and the inputs that steps read."""
        inputs, report = self.inputs, self.report
        used = {text for step in self.draft.steps for _, text in walk_strings(step.parameters)}
        subject = options.subjects.get("", "")
        trigger = TriggerDraft(subject or f"<subject of {self.draft.name}>", stream=options.stream)
        for name, declared in inputs.declared.items():
            key = name_of(name)
            if any(f"inputs.{key}" in text for text in used):
                self.draft.inputs[key] = declared
                trigger.inputs[key] = _given(name, declared)
        for name in inputs.guessed:
            report.differs(
                document, f"parameter '{name}' stands bare in JSON and has no default; it is taken for a number",
                f"change the type of input '{name_of(name)}' if it is none",
            )  # fmt: skip
        if not subject:
            report.fill_in(
                document, "a WorkflowTemplate says on no subject where its parameters come from",
                "give --subject SUBJECT, or write it into the trigger's 'subject'",
            )  # fmt: skip
        self.draft.triggers[""] = trigger


def _given(name: str, declared: JsonObject) -> str:
    """The message's field of a parameter's name, or the parameter's default."""
    found = read("event.data", [name])
    expression = found.value
    if "default" in declared:
        default = declared["default"]
        literal = cel_string(default) if isinstance(default, str) else json.dumps(default)
        expression = f"{found.exists} ? {found.value} : {literal}"
    return "${{ " + expression + " }}" + (AS_TEXT if declared["type"] == "string" else "")


def _task(at: At, needs: tuple[str, ...]) -> _Call:
    arguments = {one.text("name"): str(one["value"].value) for one in at["arguments"]["parameters"].items()}
    return _Call(at.text("name"), at, None, arguments, needs, at.text("template"))


def _depends(at: At) -> list[str]:
    listed = [str(one.value) for one in at["dependencies"].items()]
    words = at.text("depends").replace("(", " ").replace(")", " ").replace("&&", " ").split()
    return [*listed, *(word.partition(".")[0] for word in words if word != "||")]


def _drop_unknown(step: StepDraft, at: At, report: Report) -> None:
    """Leave out parameters with tags that have no value here."""
    for name, value in list(step.parameters.items()):
        unknown = [text for _, text in walk_strings(value) if f"${{{{ {UNKNOWN}" in text or f"({UNKNOWN}" in text]
        if unknown:
            tag = unknown[0].partition(UNKNOWN)[2].split()[0].rstrip(")")
            report.left_out(
                at, f"parameter '{name}' has {{{{{tag}}}}}, which no step has", f"give '{name}' in the step"
            )
            del step.parameters[name]
