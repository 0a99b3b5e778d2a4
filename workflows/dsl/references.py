"""What expressions read of a run: steps with their outputs and artifacts, `item`, `run`, `event`, `outcome`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Generic, get_args, get_origin, get_type_hints

from typing_extensions import TypeVar

from workflows.dsl.values import Expression, Level, Value
from workflows.spec.base import NAME
from workflows.suggest import did_you_mean
from workflows.values import ValueType

TypeName = type[float] | type[int] | type[str] | type[bool] | type[list[Any]] | type[dict[str, Any]] | ValueType
"""A type as Python has it, or by its name in definitions."""

_TYPES: dict[type, ValueType] = {
    bool: ValueType.BOOLEAN,
    int: ValueType.INTEGER,
    float: ValueType.NUMBER,
    str: ValueType.STRING,
    list: ValueType.LIST,
    dict: ValueType.OBJECT,
}


def value_type(given: object) -> ValueType:
    """The definition's word for a type of Python's.

    Raises:
        TypeError: it is none that a definition has.
    """
    if isinstance(given, str) and given in [str(one) for one in ValueType]:
        return ValueType(given)
    plain = get_origin(given) or given
    found = _TYPES.get(plain) if isinstance(plain, type) else None
    if found is None:
        raise TypeError(f"{given!r} is no type of a value: use float, int, str, bool, list or dict")
    return found


class Outputs:
    """The outputs of a step: `step.outputs.accuracy`, `step.outputs["accuracy"]`.

    A class of its own makes editors complete them, and gives them to the step:

        class Scores(Outputs):
            accuracy: Value[float]

        evaluate = flow.step("evaluate", kfp("evaluate.yaml"), outputs=Scores)
        evaluate.outputs.accuracy
    """

    def __init__(self, step: str, types: Mapping[str, ValueType], *, listed: bool = False) -> None:
        self._of = step
        self._types = dict(types)
        self._listed = listed

    def __getattr__(self, name: str) -> Value[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Value[Any]:
        _check_name(name, f"an output of step '{self._of}'")
        closed = type(self) is not Outputs
        if closed and name not in self._types:
            hint = did_you_mean(name, self._types, what="outputs")
            raise AttributeError(f"{type(self).__name__} of step '{self._of}' has no output '{name}'; {hint}")
        type_ = ValueType.LIST if self._listed else self._types.get(name)
        return Value(f"steps.{self._of}.outputs.{name}", type_=type_)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._types]


def declared_outputs(outputs: type[Outputs] | Mapping[str, TypeName]) -> dict[str, ValueType]:
    """The types that a step declares.

    Raises:
        TypeError: one of them is none.
    """
    if isinstance(outputs, Mapping):
        return {name: value_type(type_) for name, type_ in outputs.items()}
    hints = {n: hint for n, hint in get_type_hints(outputs).items() if not n.startswith("_")}
    for name, hint in hints.items():
        if get_origin(hint) is not Value:
            raise TypeError(f"{outputs.__name__}.{name} is {hint!r}: write {name}: Value[float], or another type in it")
    return {name: value_type(get_args(hint)[0]) for name, hint in hints.items()}


class Artifact(Expression):
    """An artifact of a step; of a step with `foreach` the list of them, whose items are `[0]`, `[1]`..."""

    @property
    def name(self) -> Value[str]:
        return self._field("name")

    @property
    def uri(self) -> Value[str]:
        return self._field("uri")

    @property
    def sha256(self) -> Value[str]:
        return self._field("sha256")

    @property
    def size(self) -> Value[int]:
        return Value(f"{self.cel}.size", type_=ValueType.INTEGER)

    @property
    def type(self) -> Value[str]:
        return self._field("type")

    @property
    def producer(self) -> Value[str]:
        return self._field("producer")

    @property
    def etag(self) -> Value[str]:
        return self._field("etag")

    @property
    def metadata(self) -> Value[dict[str, Any]]:
        return Value(f"{self.cel}.metadata", type_=ValueType.OBJECT)

    def __getitem__(self, position: int | Value[int]) -> Artifact:
        return Artifact(f"{self.cel}[{position.cel if isinstance(position, Value) else position}]")

    def _field(self, name: str) -> Value[str]:
        return Value(f"{self.cel}.{name}", type_=ValueType.STRING)


class Artifacts:
    """The artifacts of a step: `step.artifacts.model`, `step.artifacts["model"]`."""

    def __init__(self, step: str) -> None:
        self._of = step

    def __getattr__(self, name: str) -> Artifact:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Artifact:
        _check_name(name, f"an artifact of step '{self._of}'")
        return Artifact(f"steps.{self._of}.artifacts.{name}")


O = TypeVar("O", bound=Outputs, default=Outputs)  # noqa: E741 -- O for outputs


class Step(Generic[O]):
    """A step of a definition, for what comes after it to read.

    Attributes:
        name: in the definition.
        outputs: what it gives.
        artifacts: what it makes.
        state: `succeeded`, `failed`, `lost`, `timed_out`, `cancelled` or `skipped`, once it has ended.
        message: why it did not succeed.
    """

    def __init__(self, name: str, outputs: O) -> None:
        self.name = name
        self.outputs = outputs
        self.artifacts = Artifacts(name)
        self.state: Value[str] = Value(f"steps.{name}.state", type_=ValueType.STRING)
        self.message: Value[str] = Value(f"steps.{name}.message", type_=ValueType.STRING)

    @property
    def succeeded(self) -> Value[bool]:
        return self.state == "succeeded"

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class Fields(Value[Any]):
    """An object whose fields are read as attributes: `item.shard`, `event.rows`; `["size"]` where Python has a word."""

    def __getattr__(self, name: str) -> Value[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


class Run:
    """The run itself."""

    id: Value[str] = Value("run.id", type_=ValueType.STRING)
    workflow: Value[str] = Value("run.workflow", type_=ValueType.STRING)


class Outcome:
    """How the run ended, for compensations and for steps at its end."""

    state: Value[str] = Value("outcome.state", type_=ValueType.STRING)
    message: Value[str] = Value("outcome.message", type_=ValueType.STRING)
    failed_step: Value[str] = Value("outcome.failed_step", type_=ValueType.STRING)


run = Run()
outcome = Outcome()
item = Fields("item", Level.MEMBER)
index: Value[int] = Value("index", type_=ValueType.INTEGER)
event = Fields("event", Level.MEMBER)


def _check_name(name: str, what: str) -> None:
    """Say at once what the checker of expressions would stumble over.

    Raises:
        ValueError: it is no name.
    """
    if not re.match(NAME, name):
        raise ValueError(
            f"{name!r} is no name of {what}: lower-case letters, digits and underscores; an engine's hyphens become "
            "underscores"
        )
