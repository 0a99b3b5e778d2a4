"""What all commands share: where the service is, how output looks, what errors and exit codes mean."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from meta.client import MetaClient, RunFailed
from meta.config import MetaConfig, find_config, load_config
from workflows.errors import Conflict, InvalidInput, MetaError, NotAllowed, NotFound, ServiceUnavailable
from workflows.values import JsonValue

T = TypeVar("T")

EXIT_FAILED, EXIT_INPUT, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 2, 3, 130
PATIENCE_S = 3.0  # a person waits; scripts that start with the service use `meta up`, which waits until it is ready


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]


@dataclass(frozen=True, slots=True)
class Globals:
    """Options before the command."""

    config: Path | None = None
    address: str = ""

    def configuration(self) -> MetaConfig:
        """What is in force: the file that is named or found, and the environment."""
        return load_config(find_config(self.config))

    def client(self) -> MetaClient:
        """A client of the service that the options, the configuration or the default names."""
        address = self.address or self.configuration().grpc.address
        return MetaClient(address, patience_s=PATIENCE_S)


def client_of(context: typer.Context) -> MetaClient:
    """The client for a command."""
    found = context.find_object(Globals)
    return (found or Globals()).client()


def stdout() -> Console:
    return Console(highlight=False)


def stderr() -> Console:
    return Console(stderr=True, highlight=False)


def print_json(value: JsonValue) -> None:
    """One JSON value on a line of its own, for programs; unstyled whatever the terminal."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def report(error: MetaError) -> int:
    """Say what went wrong on standard error, and what to do next.

    Returns:
        The exit code that it means.
    """
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    if error.hint:
        console.print(Text(f"  {error.hint}", style="yellow"), soft_wrap=True)
    if isinstance(error, ServiceUnavailable):
        return EXIT_UNREACHABLE
    if isinstance(error, InvalidInput | NotFound | Conflict | NotAllowed):
        return EXIT_INPUT
    return EXIT_FAILED


class MetaGroup(TyperGroup):
    """Gives every command, also those that others register, the same words and exit codes for errors."""

    def invoke(self, ctx: Any) -> Any:  # click's own context: typer ships click under a private name
        try:
            return super().invoke(ctx)
        except RunFailed as error:
            report(error)
            ctx.exit(EXIT_FAILED)
        except MetaError as error:
            ctx.exit(report(error))
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
