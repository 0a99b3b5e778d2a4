"""What all models of a definition are made of: names, durations, and how strict they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from workflows.spec.durations import format_duration, parse_duration

NAME = r"^[a-z][a-z0-9_]*$"
LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME, max_length=63)]
"""Names of steps, inputs, outputs and artifacts."""

Label = Annotated[str, Field(pattern=LABEL, max_length=63)]
"""Names of meta-workflows, engines and triggers: DNS labels."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["30s", "2h", "1h30m"]}),
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)
