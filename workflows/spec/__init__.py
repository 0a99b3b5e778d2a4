"""The definition language.

The models are light; reading and validating stand on PyYAML and the CEL library, which the Temporal workflow must not
import, so they are imported when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflows.spec.models import MetaWorkflow

if TYPE_CHECKING:
    from workflows.errors import Problem
    from workflows.spec.locate import Locator
    from workflows.spec.scopes import Manifests

__all__ = ["MetaWorkflow", "load_definition", "validate"]


def load_definition(text: str, file: str = "") -> MetaWorkflow:
    """Read and validate a definition.

    Args:
        text: YAML 1.2 (and so JSON).
        file: its name, for messages.

    Raises:
        DefinitionInvalid: with every problem in it, in the order of the file.
    """
    from workflows.spec.loading import load_definition as load

    return load(text, file)


def validate(
    definition: MetaWorkflow, locate: Locator | None = None, manifests: Manifests | None = None
) -> list[Problem]:
    """Check what the models cannot: names, types of expressions, circles.

    Args:
        definition: as the models accept it.
        locate: where its parts stand; None when it was built in Python.
        manifests: what the files declare that something runs, by its name; without it nothing is checked against them.

    Returns:
        Every problem; empty when it is valid.
    """
    from workflows.spec.validation import validate as check

    return check(definition, locate, manifests)
