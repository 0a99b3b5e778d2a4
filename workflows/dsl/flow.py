"""A definition that is built by calls: `MetaWorkflow("name")`, `.input`, `.step`, `.output`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from typing_extensions import TypeVar as DefaultedTypeVar

from workflows.dsl.places import Places, locator
from workflows.dsl.references import Outputs, Step, TypeName, declared_outputs, value_type
from workflows.dsl.sources import Cache, Each, Items, Retry, Runs, Span, Undo, foreach_data
from workflows.dsl.templates import Duration, condition, keys, plain
from workflows.dsl.values import Expression, Value
from workflows.errors import DefinitionInvalid
from workflows.spec import models
from workflows.spec.locate import NOWHERE
from workflows.spec.locate import Path as Place
from workflows.spec.steps import Continued
from workflows.values import JsonObject, JsonValue, ValueType

if TYPE_CHECKING:
    from workflows.spec.loading import Parsed

T = TypeVar("T")
O = DefaultedTypeVar("O", bound=Outputs, default=Outputs)  # noqa: E741 -- O for outputs

_UNSET: Any = object()


class MetaWorkflow:
    """A definition.

        flow = MetaWorkflow("hybrid-training", description="Train, then deploy")
        rate = flow.input("learning_rate", float, default=0.05)
        train = flow.step("train", kfp("train.yaml"), parameters={"rate": rate}, outputs={"accuracy": float})
        flow.step("deploy", argo("deploy.yaml"), when=train.outputs.accuracy >= 0.9)

    `meta compile FILE.py` writes it as YAML; `meta run FILE.py` and `meta publish FILE.py` take it as it is.

    Args:
        name: of the meta-workflow.
        description: for people.
        labels: of the metadata.
        timeout: of all steps together.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
    ) -> None:
        frame = _caller()
        self.name = name
        self.places = Places(frame.f_code.co_filename)
        self.places.note((), frame)
        about = keys(name=name, description=description, labels=labels)
        self._head: JsonObject = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": about}
        self._head |= keys(timeout=timeout)
        self._parts: dict[str, JsonObject] = {"inputs": {}, "steps": {}, "finally": {}, "outputs": {}}
        self._triggers: list[JsonValue] = []

    def __repr__(self) -> str:
        return f"<meta-workflow {self.name}>"

    def input(
        self,
        name: str,
        type: type[T],
        *,
        default: object = _UNSET,
        required: bool | None = None,
        description: str | None = None,
    ) -> Value[T]:
        """Declare an input.

        Args:
            name: in the definition.
            type: float, int, str, bool, list or dict.
            default: of runs that do not give it; without one it is required.
            required: False: it may be left out, and is null then.
            description: for people.

        Returns:
            The input, for expressions.
        """
        declared = value_type(type)
        data: JsonObject = {"type": declared.value}
        if default is not _UNSET:
            data["default"] = plain(default)
        self._put(("inputs", name), {**data, **keys(required=required, description=description)}, "an input")
        return Value(f"inputs.{name}", type_=declared)

    def step(
        self,
        name: str,
        runs: Runs | Sequence[Runs],
        *,
        description: str | None = None,
        parameters: Mapping[str, object] | None = None,
        artifacts: Mapping[str, Expression | str] | None = None,
        outputs: type[O] | Mapping[str, TypeName] | None = None,
        when: Value[bool] | str | None = None,
        needs: Sequence[Step[Any] | str] | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        attempt_timeout: Duration | None = None,
        cancel_grace: Duration | None = None,
        on_lost: Literal["fail", "restart"] | None = None,
        foreach: Items | Mapping[str, Sequence[Any] | Value[Any]] | Each | Span | None = None,
        continue_on: Sequence[Continued] | None = None,
        compensate: Runs | Undo | None = None,
        cache: Cache | bool | None = None,
        use_case: str | None = None,
        at_end: bool = False,
    ) -> Step[O]:
        """Add a step.

        Args:
            name: in the definition.
            runs: what it runs: `argo(...)`, `kfp(...)`, `approval(...)`, `wait(...)`, `wait_for(...)`, `workflow(...)`,
                `activity(...)`; with `use_case` one for each engine.
            description: for people.
            parameters: values by name; what a run reads may stand in them, however deep.
            artifacts: the consumer's artifacts: those of earlier steps, or URIs.
            outputs: types by name, or a class of `Outputs`, whose attributes editors complete.
            when: the step is skipped when it is false.
            needs: steps that come before, beside those that it reads.
            retry: how often and how what failed is tried again.
            timeout: over all attempts.
            attempt_timeout: of one attempt.
            cancel_grace: how long a cancelled run of Argo may take to stop.
            on_lost: `restart`: an engine run whose result is gone is run again.
            foreach: it runs once for each item: a list, a `range`, a dict whose combinations are the items, or `Each`;
                its arguments read `item` and `index`.
            continue_on: ends that let the run go on.
            compensate: what takes it back when a later step fails or the run is cancelled.
            cache: an earlier success of the same work is taken.
            use_case: the configuration says which engine has it.
            at_end: it runs at the end, however the run ends (`finally`), and may read `outcome`.

        Returns:
            The step, for those after it to read.

        Raises:
            ValueError: there is a step of this name.
            TypeError: something that no definition can have.
        """
        types = {} if outputs is None else declared_outputs(outputs)
        folder = self.places.folder
        data: JsonObject = keys(description=description)
        data |= keys(needs=None if needs is None else [one if isinstance(one, str) else one.name for one in needs])
        data |= {} if when is None else {"when": condition(when)}
        data |= {} if foreach is None else {"foreach": foreach_data(foreach)}
        data |= keys(use_case=use_case)
        data |= {one.kind.value: one.below(folder) for one in ([runs] if isinstance(runs, Runs) else runs)}
        data |= keys(
            parameters=parameters,
            artifacts=artifacts,
            outputs={output: type_.value for output, type_ in types.items()} or None,
            retry=None if retry is None else retry.data(),
            on_lost=on_lost,
            timeout=timeout,
            attempt_timeout=attempt_timeout,
            cancel_grace=cancel_grace,
            continue_on=continue_on,
            cache=cache.data() if isinstance(cache, Cache) else cache,
        )
        if compensate is not None:
            data["compensate"] = (Undo(compensate) if isinstance(compensate, Runs) else compensate).data(folder)
        self._put(("finally" if at_end else "steps", name), data, "a step")
        return Step(name, self._made(name, outputs, types, listed=foreach is not None))

    def output(self, name: str, value: Expression | str) -> None:
        """Declare an output of the run: what a step gives, or a text with such things in it."""
        self._put(("outputs", name), plain(value), "an output")

    def on_message(
        self,
        subject: str,
        *,
        name: str | None = None,
        when: Value[bool] | str | None = None,
        id: str | Expression | None = None,
        inputs: Mapping[str, object] | None = None,
        stream: str | None = None,
        reply: str | Expression | None = None,
        max_deliver: int | None = None,
        ack_wait: Duration | None = None,
        backoff: Sequence[Duration] | None = None,
        concurrency: int | None = None,
        rate: str | None = None,
        debounce: Duration | None = None,
        batch: tuple[int, Duration] | None = None,
    ) -> None:
        """A message on a NATS subject starts a run, once the definition is published. Arguments read `event`.

        Args:
            subject: where messages come: `*` stands for one part, `>` for the rest.
            name: names the durable consumer; by default made from the subject.
            when: false: the message starts nothing.
            id: identity of what the message tells: the same again starts nothing.
            inputs: of the run.
            stream: to read; by default the one that has the subject.
            reply: subject that gets the run's life-cycle events too.
            max_deliver: deliveries after which a message that starts nothing is put aside.
            ack_wait: silence after which NATS delivers again.
            backoff: before each next delivery of a message that failed.
            concurrency: most runs of this trigger at a time.
            rate: most starts in a period, as `30/m`.
            debounce: a burst starts one run, when no message has come for so long.
            batch: so many messages start one run, or so long after the first.
        """
        gathered: JsonValue = None if batch is None else {"max": batch[0], "within": plain(batch[1])}
        given = keys(
            subject=subject,
            name=name,
            stream=stream,
            when=None if when is None else condition(when),
            id=id,
            inputs=inputs,
            reply=reply,
            max_deliver=max_deliver,
            ack_wait=ack_wait,
            backoff=backoff,
            concurrency=concurrency,
            rate=rate,
            debounce=debounce,
            batch=gathered,
        )
        self._trigger({"nats": given})

    def trigger(self, **kinds: object) -> None:
        """Any trigger by its keys in a definition: `flow.trigger(nats={"subject": "ml.ready"})`."""
        self._trigger({kind: plain(value) for kind, value in kinds.items()})

    def data(self) -> JsonObject:
        """The definition as it would stand in YAML, checked in no way."""
        parts = {key: dict(part) for key, part in self._parts.items() if part}
        found: JsonObject = {**self._head, **parts}
        return {**found, "triggers": list(self._triggers)} if self._triggers else found

    def parsed(self) -> Parsed:
        """The definition as far as its shape, and where its parts stand."""
        from workflows.spec.loading import parse_value  # YAML and CEL are loaded at need

        folder = self.places.folder
        place = NOWHERE if folder is None else locator(Path(self.places.file), self.places.lines, self.places.file)
        return parse_value(self.data(), place)

    def build(self) -> models.MetaWorkflow:
        """The definition, checked without the files that its steps name.

        Raises:
            DefinitionInvalid: with every problem, each with the line of Python that made it.
        """
        from workflows.spec.loading import in_order
        from workflows.spec.validation import validate

        parsed = self.parsed()
        problems = list(parsed.problems)
        if parsed.definition is not None:
            problems.extend(validate(parsed.definition, parsed.locator))
        if problems or parsed.definition is None:
            raise DefinitionInvalid(in_order(problems))
        return parsed.definition

    def _made(
        self,
        name: str,
        outputs: type[O] | Mapping[str, TypeName] | None,
        types: Mapping[str, ValueType],
        *,
        listed: bool,
    ) -> O:
        made = outputs if isinstance(outputs, type) else Outputs
        return made(name, types, listed=listed)  # pyright: ignore[reportReturnType] -- O is Outputs when none is given

    def _put(self, place: tuple[str, str], data: JsonValue, what: str) -> None:
        part, name = place
        taken: Place | None = place if name in self._parts[part] else None
        if part in ("steps", "finally"):
            taken = next(((p, name) for p in ("steps", "finally") if name in self._parts[p]), None)
        if taken is not None:
            raise ValueError(f"there is {what} '{name}' already ({self.places.shown(taken)})")
        self._parts[part][name] = data
        self.places.note(place, _caller())

    def _trigger(self, data: JsonObject) -> None:
        self.places.note(("triggers", len(self._triggers)), _caller())
        self._triggers.append(data)


def _caller() -> FrameType:
    """The innermost frame that is none of this module's."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] -- the documented way to a caller's line
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame
