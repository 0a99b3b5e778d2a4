# pyright: basic
# (kfp has no types)
"""What a task gets: its inputs resolved against the DAG it stands in.

Rules of the real driver (kubeflow/pipelines, backend/src/v2/driver/resolve.go): a null is left out where the
component's own input is optional, a skipped or failed producer gives nothing, a selector takes a part of a value.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from kfp.local import executor_output_utils

from .conditions import as_text

COMPLETED = 2  # PipelineTaskSpec.TriggerPolicy.TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
_CHANNEL = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_MISSING = object()


@dataclass
class Dag:
    """A DAG while it runs: one of the pipeline, or one iteration of a loop.

    `outputs` and `states` are of its tasks; a state is SUCCEEDED, FAILED, SKIPPED or OMITTED.
    """

    path: str
    tasks: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


class Unresolved(Exception):
    """An input that has no value where there must be one."""


def whole(value: Any) -> Any:
    """A value as protojson writes it: a number without a fraction is an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def constant(value: Any) -> Any:
    """A `google.protobuf.Value`; one that was never set is a null, as a default of None compiles to."""
    if value.WhichOneof("kind") is None:
        return None
    return whole(executor_output_utils.pb2_value_to_python(value))


def with_defaults(given: dict[str, Any], component: Any) -> dict[str, Any]:
    """The inputs of a DAG: what is not given has its default, or is a null."""
    inputs = dict(given)
    for name, declared in component.input_definitions.parameters.items():
        inputs.setdefault(name, constant(declared.default_value))
    return inputs


def needs(task: Any) -> set[str]:
    """The tasks that must have ended before this one, also those that only its inputs name."""
    found = set(task.dependent_tasks)
    for one in task.inputs.parameters.values():
        found |= {one.task_output_parameter.producer_task, one.task_final_status.producer_task}
    for one in task.inputs.artifacts.values():
        found.add(one.task_output_artifact.producer_task)
    return found - {""}


def resolve(task: Any, component: Any, dag: Dag, facts: dict[str, str]) -> dict[str, Any]:
    """The arguments of a task.

    Args:
        task: a `PipelineTaskSpec`.
        component: its `ComponentSpec`, which says what may be missing.
        dag: where it stands.
        facts: what the pipeline's own placeholders stand for (`{{$.pipeline_job_uuid}}`).

    Raises:
        Unresolved: an input has no value and is not optional.
    """
    arguments: dict[str, Any] = {}
    declared = component.input_definitions.parameters
    for name, one in task.inputs.parameters.items():
        value = parameter(one, dag, facts)
        if value is _MISSING or value is None:
            spec = declared[name] if name in declared else None
            if spec is not None and (spec.is_optional or spec.HasField("default_value")):
                continue
            if spec is not None or value is _MISSING:
                raise Unresolved(f"input parameter {name} has no value: {_source(one)}")
        arguments[name] = value
    for name, one in task.inputs.artifacts.items():
        if one.WhichOneof("kind") == "component_input_artifact":
            value = dag.inputs.get(one.component_input_artifact)
        else:
            made = one.task_output_artifact
            value = dag.outputs.get(made.producer_task, {}).get(made.output_artifact_key)
        if value is None:
            if component.input_definitions.artifacts[name].is_optional:
                continue
            raise Unresolved(f"input artifact {name} has no value: {_source(one)}")
        arguments[name] = value
    for name, value in arguments.items():
        if isinstance(value, str):
            arguments[name] = _CHANNEL.sub(lambda match: as_text(arguments.get(match[1], match[0])), value)
    return arguments


def parameter(one: Any, dag: Dag, facts: dict[str, str]) -> Any:
    """The value of one `InputParameterSpec`."""
    kind = one.WhichOneof("kind")
    if kind == "runtime_value":
        value = constant(one.runtime_value.constant)
        if isinstance(value, str):
            for placeholder, fact in facts.items():
                value = value.replace(placeholder, fact)
    elif kind == "component_input_parameter":
        value = dag.inputs.get(one.component_input_parameter, _MISSING)
    elif kind == "task_output_parameter":
        made = one.task_output_parameter
        value = dag.outputs.get(made.producer_task, {}).get(made.output_parameter_key, _MISSING)
    else:
        producer = one.task_final_status.producer_task
        value = {
            "state": "COMPLETE" if dag.states[producer] == "SUCCEEDED" else "FAILED",  # the words of ML Metadata
            "pipelineTaskName": producer,
            "pipelineJobResourceName": facts["{{$.pipeline_job_resource_name}}"],
            "error": {},
        }
    if one.parameter_expression_selector and value is not _MISSING:
        value = select(value, one.parameter_expression_selector)
    return value


def select(value: Any, selector: str) -> Any:
    """A part of a value: `parseJson(string_value)["a"]["b"]`, which is all that the compiler writes."""
    match = re.fullmatch(r'(?:parseJson\(string_value\)|struct_value|list_value)((?:\[(?:"[^"]*"|\d+)\])*)', selector)
    if match is None:
        raise Unresolved(f"the selector {selector} is not supported by the sandbox")
    if selector.startswith("parseJson") and isinstance(value, str):
        value = json.loads(value)
    for key in re.findall(r'\[("[^"]*"|\d+)\]', match[1]):
        try:
            value = value[json.loads(key)]
        except (KeyError, IndexError, TypeError) as error:
            raise Unresolved(f"the selector {selector} finds nothing in {value!r}") from error
    return value


def items(task: Any, arguments: dict[str, Any]) -> list[Any]:
    """What a loop goes over."""
    source = task.parameter_iterator.items
    found = json.loads(source.raw) if source.WhichOneof("kind") == "raw" else arguments[source.input_parameter]
    if isinstance(found, str):
        found = json.loads(found)
    if not isinstance(found, list):
        raise Unresolved(f"the loop over {found!r} needs a list")
    return found


def outputs_of(dag: Dag, component: Any) -> dict[str, Any]:
    """The outputs of a DAG. One whose producer was skipped is left out: who needs it says so."""
    sources: dict[str, list[tuple[str, str]]] = {}
    for name, spec in component.dag.outputs.parameters.items():
        one = spec.WhichOneof("kind") == "value_from_oneof"
        selectors = spec.value_from_oneof.parameter_selectors if one else [spec.value_from_parameter]
        sources[name] = [(each.producer_subtask, each.output_parameter_key) for each in selectors]
    for name, spec in component.dag.outputs.artifacts.items():
        sources[name] = [(each.producer_subtask, each.output_artifact_key) for each in spec.artifact_selectors]
    found: dict[str, Any] = {}
    for name, made in sources.items():
        for task, key in made:
            if key in dag.outputs.get(task, {}):
                found[name] = dag.outputs[task][key]
    return found


def collected(component: Any, iterations: list[dict[str, Any]]) -> dict[str, Any]:
    """The outputs of a loop: lists in the order of its iterations; of nested loops one flat list, as the driver has."""
    names = [*component.output_definitions.parameters, *component.output_definitions.artifacts]
    found: dict[str, Any] = {}
    for name in names:
        nested = _is_loop_output(component, name)
        values = [made[name] for made in iterations if name in made]
        found[name] = [item for value in values for item in value] if nested else values
    return found


def _is_loop_output(component: Any, name: str) -> bool:
    """True if the output of an iteration is a list that an inner loop has collected."""
    for spec in (component.dag.outputs.parameters, component.dag.outputs.artifacts):
        if name not in spec:
            continue
        if spec is component.dag.outputs.parameters:
            producers = [spec[name].value_from_parameter.producer_subtask]
        else:
            producers = [each.producer_subtask for each in spec[name].artifact_selectors]
        return any(
            component.dag.tasks[task].WhichOneof("iterator") is not None
            for task in producers
            if task in component.dag.tasks
        )
    return False


def _source(one: Any) -> str:
    kind = one.WhichOneof("kind")
    if kind in ("task_output_parameter", "task_output_artifact"):
        made = getattr(one, kind)
        key = made.output_parameter_key if kind == "task_output_parameter" else made.output_artifact_key
        return f"task {made.producer_task} gave no output {key}"
    return f"the DAG has no input {getattr(one, kind)}" if kind else "its specification names no source"
