"""Definitions of a few lines, and what is wrong with them."""

from __future__ import annotations

from textwrap import dedent

from workflows.errors import DefinitionInvalid, Problem
from workflows.spec import load_definition

HEAD = "apiVersion: meta/v1\nkind: MetaWorkflow\nmetadata: {name: chain}\n"


def problems(body: str) -> list[Problem]:
    """Problems of a definition whose head is right, in the order of the file; none when it is valid."""
    try:
        load_definition(HEAD + dedent(body), "wf.yaml")
    except DefinitionInvalid as error:
        return list(error.problems)
    return []


def marked(body: str) -> list[tuple[str, str]]:
    """Problems as the text from the place of each to the end of its line, and the message."""
    lines = (HEAD + dedent(body)).splitlines()
    return [(lines[p.line - 1][p.column - 1 :], p.message) for p in problems(body)]
