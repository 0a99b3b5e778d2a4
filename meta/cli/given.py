"""Inputs from the command line: `-i key=value` and `--inputs FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from workflows.errors import InputsInvalid
from workflows.inputs import parse_input
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject


def read_inputs(definition: MetaWorkflow, pairs: Sequence[str], file: Path | None) -> JsonObject:
    """Gather inputs; pairs win over the file.

    Args:
        definition: declares each input's type, by which a pair's text is read.
        pairs: `key=value`.
        file: YAML or JSON with an object.

    Raises:
        InputsInvalid: a pair or a file that cannot be read. Whether the inputs fit is the service's to say.
    """
    inputs = _read_file(file) if file is not None else {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputsInvalid(f"-i {pair!r} is not key=value", hint="as in -i learning_rate=0.1")
        declared = definition.inputs.get(name)
        try:
            inputs[name] = parse_input(text, declared.type if declared is not None else None)
        except InputsInvalid as error:
            raise InputsInvalid(f"-i {name}: {error.message}", hint=error.hint) from error
    return inputs


def _read_file(file: Path) -> JsonObject:
    hint = 'give a YAML or JSON file with an object, as {"learning_rate": 0.1}'
    try:
        value = cast(object, yaml.safe_load(file.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputsInvalid(f"--inputs {file}: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise InputsInvalid(f"--inputs {file} holds no object", hint=hint)
    return cast(JsonObject, value)
