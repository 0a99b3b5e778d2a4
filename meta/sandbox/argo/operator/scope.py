"""What the tags inside a steps or dag template can see: inputs, and the outputs of what ran before (scope.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import cast

from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.expressions import (
    ExpressionError,
    Value,
    compile_expression,
    environment,
    escaped,
    to_json,
    to_string,
)
from meta.sandbox.argo.operator.context import Context, OperationError
from meta.sandbox.argo.operator.tags import find_tags
from meta.sandbox.argo.state.status import NodeStatus, NodeType, Phase, k8s_time

_INDEX = re.compile(r"\((\d+):")


class Scope:
    """Values and artifacts by tag."""

    def __init__(self, context: Context, template: m.Template) -> None:
        self._context = context
        self.values: dict[str, str | None] = dict(context.values)
        self.artifacts: dict[str, m.Artifact] = {}
        inputs = template.inputs or m.Inputs()
        for parameter in inputs.parameters or []:
            self.values[f"inputs.parameters.{parameter.name}"] = parameter.value
        for artifact in inputs.artifacts or []:
            self.artifacts[f"inputs.artifacts.{artifact.name}"] = artifact
        outputs = context.workflow.status.outputs or m.Outputs()
        for artifact in outputs.artifacts or []:
            self.artifacts[f"workflow.outputs.artifacts.{artifact.name}"] = artifact

    def add_node(self, prefix: str, node: NodeStatus, template: m.Template | None) -> None:
        """See a step or task under `prefix` (`steps.name`): its times, phase and outputs."""
        if node.type is NodeType.RETRY and (attempts := self._context.nodes.retries(node)):
            node = attempts[-1]
        self.values[f"{prefix}.id"] = node.id
        self.values[f"{prefix}.status"] = str(node.phase)
        if node.started_at:
            self.values[f"{prefix}.startedAt"] = k8s_time(node.started_at)
        if node.finished_at:
            self.values[f"{prefix}.finishedAt"] = k8s_time(node.finished_at)
        if node.host_node_name:
            self.values[f"{prefix}.hostNodeName"] = node.host_node_name
        outputs = node.outputs
        if outputs is None:
            if node.phase in {Phase.SKIPPED, Phase.OMITTED} and template is not None and template.outputs is not None:
                for parameter in template.outputs.parameters or []:
                    source = parameter.value_from
                    self.values[f"{prefix}.outputs.parameters.{parameter.name}"] = source.default if source else None
            return
        if outputs.result is not None:
            self.values[f"{prefix}.outputs.result"] = outputs.result
        if outputs.exit_code is not None:
            self.values[f"{prefix}.exitCode"] = outputs.exit_code
        for parameter in outputs.parameters or []:
            self.values[f"{prefix}.outputs.parameters.{parameter.name}"] = parameter.value
        for artifact in outputs.artifacts or []:
            self.artifacts[f"{prefix}.outputs.artifacts.{artifact.name}"] = artifact

    def add_group(self, prefix: str, parts: Sequence[NodeStatus]) -> None:
        """See the parts of an expanded step or task as JSON lists, in the order of the items."""
        parts = [n for n in parts if not (n.node_flag and (n.node_flag.retried or n.node_flag.hooked))]
        if not parts:
            return
        done = sorted(
            (n for n in parts if n.phase is Phase.SUCCEEDED),
            key=lambda node: int(found.group(1)) if (found := _INDEX.search(node.display_name)) else 0,
        )
        outputs = [node.outputs for node in done if node.outputs is not None]
        names = [{p.name: p.value or "" for p in o.parameters} for o in outputs if o.parameters]
        results = [_result(o.result) for o in outputs if o.result is not None]
        self.values[f"{prefix}.outputs.result"] = escaped(
            json.dumps(results, separators=(",", ":"), ensure_ascii=False)
        )
        self.values[f"{prefix}.outputs.parameters"] = to_json([{**entry} for entry in names])
        for name in dict.fromkeys(key for entry in names for key in entry):
            values = [entry[name] for entry in names if name in entry]
            self.values[f"{prefix}.outputs.parameters.{name}"] = _json_list(values)

    def compute(self, expression: str) -> Value:
        """The value of an expression over everything that can be seen.

        Raises:
            OperationError: it cannot be computed, or has no value.
        """
        try:
            value = compile_expression(expression).evaluate(environment({**self.values, **self.artifacts}))
        except ExpressionError as error:
            raise OperationError(str(error)) from error
        if value is None:
            raise OperationError(f'failed to evaluate expression "{expression}"')
        return value

    def artifact(self, source: m.Artifact) -> m.Artifact:
        """The artifact that `from` or `fromExpression` names.

        Raises:
            OperationError: there is none.
        """
        if source.from_expression:
            found = self.compute(source.from_expression)
            if not isinstance(found, m.Artifact):
                raise OperationError(f"Unable to resolve: {source.from_expression} is not an artifact")
            return found
        reference = source.from_ or ""
        tags = find_tags(reference)
        name = tags[0] if tags else reference.strip()
        if name not in self.artifacts:
            raise OperationError(f"Unable to resolve: {{{{{name}}}}}")
        return self.artifacts[name]

    def resolve_artifacts(self, arguments: m.Arguments | None) -> None:
        """Put the artifacts that `from` names in the place of the references; drop optional ones that are absent."""
        if arguments is None:
            return
        resolved: list[m.Artifact] = []
        for artifact in arguments.artifacts or []:
            if artifact.from_ is None and not artifact.from_expression:
                resolved.append(artifact)
                continue
            try:
                source = self.artifact(artifact)
            except OperationError:
                if artifact.optional:
                    continue
                raise
            source = _below(source, artifact.sub_path)
            resolved.append(source.model_copy(update={"name": artifact.name, "global_name": None}))
        arguments.artifacts = resolved or None

    def drop_absent(self, arguments: m.Arguments | None) -> None:
        """Leave out arguments that only name an output that does not exist, so that the input's default applies."""
        for parameter in (arguments.parameters if arguments else None) or []:
            tags = find_tags(parameter.value or "")
            if len(tags) == 1 and (parameter.value or "").strip() == f"{{{{{tags[0]}}}}}":
                if tags[0] in self.values and self.values[tags[0]] is None:
                    parameter.value = None

    def outputs(self, template: m.Template) -> m.Outputs | None:
        """The outputs of a steps or dag template.

        Raises:
            OperationError: one cannot be resolved and has no default.
        """
        declared = template.outputs
        if declared is None or not (declared.parameters or declared.artifacts):
            return None
        parameters: list[m.Parameter] = []
        for parameter in declared.parameters or []:
            value = self._output(parameter.name, parameter.value_from or m.ValueFrom())
            parameters.append(parameter.model_copy(update={"value": value, "value_from": None}))
        artifacts: list[m.Artifact] = []
        for artifact in declared.artifacts or []:
            try:
                source_artifact = self.artifact(artifact)
            except OperationError as error:
                if artifact.optional:
                    continue
                raise OperationError(f"unable to resolve outputs from scope: {error}") from error
            update = {"name": artifact.name, "global_name": artifact.global_name}
            artifacts.append(source_artifact.model_copy(update=update))
        return m.Outputs(parameters=parameters or None, artifacts=artifacts or None)

    def _output(self, name: str, source: m.ValueFrom) -> str:
        try:
            if source.expression:
                return to_string(self.compute(source.expression))
            tags = find_tags(source.parameter or "")
            reference = tags[0] if tags else (source.parameter or "")
            value = self.values.get(reference)
            if value is not None:
                return value
            if reference in self.values:
                raise OperationError(
                    f'output parameter "{name}": "{source.parameter}" is an absent optional (skipped/omitted node '
                    "output with no default)"
                )
            raise OperationError(f"Unable to resolve: {{{{{reference}}}}}")
        except OperationError:
            if source.default is None:
                raise
            return source.default


def _below(artifact: m.Artifact, sub_path: str | None) -> m.Artifact:
    """A part of an artifact that is a folder (`subPath`)."""
    if not sub_path:
        return artifact
    if artifact.s3 is None or not artifact.s3.key:
        raise OperationError(f"cannot append subPath {sub_path} to artifact {artifact.name}: it has no key")
    key = f"{artifact.s3.key.rstrip('/')}/{sub_path.strip('/')}"
    return artifact.model_copy(update={"s3": artifact.s3.model_copy(update={"key": key})})


def _item(text: str) -> JsonValue:
    try:
        return cast("JsonValue", json.loads(text))
    except json.JSONDecodeError:
        return text


def _result(text: str) -> JsonValue:
    """A part's result in the list of results, which must be JSON."""
    try:
        return cast("JsonValue", json.loads(text))
    except json.JSONDecodeError as error:
        reason = "unexpected end of JSON input" if not text.strip() else (
            f"invalid character '{text.strip()[:1]}' looking for beginning of value"
        )  # fmt: skip
        raise OperationError(reason) from error


def _json_list(values: list[str]) -> str:
    parsed = [_item(value) for value in values]
    structured = all(isinstance(item, (dict, list)) for item in parsed)
    return to_json(cast("list[Value]", parsed if structured else values))
