"""Inputs from the command line: `-i key=value`, `--inputs FILE` and `--inputs-json JSON`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from workflows.errors import InputsInvalid
from workflows.inputs import parse_input
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject, ValueType


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs as the command line gives them; pairs win over the text, the text over the file.

    Attributes:
        pairs: `key=value`.
        file: YAML or JSON with an object.
        text: of a JSON object.
    """

    pairs: Sequence[str] = ()
    file: Path | None = None
    text: str = ""

    def inputs(self, definition: MetaWorkflow) -> JsonObject:
        """Gather them.

        Args:
            definition: declares each input's type, by which a pair's text is read.

        Raises:
            InputsInvalid: something that cannot be read. Whether the inputs fit is the service's to say.
        """
        return self.typed({name: declared.type for name, declared in definition.inputs.items()})

    def typed(self, types: Mapping[str, ValueType]) -> JsonObject:
        """Gather them where only some types are known; a pair's text is read as JSON where it is JSON.

        Raises:
            InputsInvalid: something that cannot be read.
        """
        inputs = _read_file(self.file) if self.file is not None else {}
        inputs |= _read_text(self.text)
        for pair in self.pairs:
            name, equals, text = pair.partition("=")
            if not equals or not name:
                raise InputsInvalid(f"-i {pair!r} is not key=value", hint="as in -i learning_rate=0.1")
            try:
                inputs[name] = parse_input(text, types.get(name))
            except InputsInvalid as error:
                raise InputsInvalid(f"-i {name}: {error.message}", hint=error.hint) from error
        return inputs


def _read_text(text: str) -> JsonObject:
    hint = 'give an object, as {"learning_rate": 0.1}'
    try:
        value = cast(object, yaml.safe_load(text or "{}"))
    except yaml.YAMLError as error:
        raise InputsInvalid(f"--inputs-json: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise InputsInvalid(f"--inputs-json: {text[:60]!r} is no object", hint=hint)
    return cast(JsonObject, value)


def _read_file(file: Path) -> JsonObject:
    hint = 'give a YAML or JSON file with an object, as {"learning_rate": 0.1}'
    try:
        value = cast(object, yaml.safe_load(file.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputsInvalid(f"--inputs {file}: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise InputsInvalid(f"--inputs {file} holds no object", hint=hint)
    return cast(JsonObject, value)
