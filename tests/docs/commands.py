"""Command lines of the pages, parsed by the command's own parser."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from meta.cli.app import app


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it; fails when there is no such command or option."""
    command: Any = get_command(app)
    context, rest = command.make_context("meta", list(arguments)), list(arguments)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
