"""The expression of a step's `retryOn`: what it can read, whether it is right, and what it says of an outcome.

It reads the outcome of the attempt that has just ended, and nothing else.
"""

from __future__ import annotations

from workflows.errors import ExpressionFailed
from workflows.expressions.cel import Issue
from workflows.expressions.check import Checked, check_against, check_limits
from workflows.expressions.promote import compile_expression
from workflows.expressions.tokens import Kind, Token, tokenize
from workflows.expressions.types import ExprType
from workflows.inputs import show
from workflows.messages import AskRetry
from workflows.outcome import FailureClass
from workflows.suggest import did_you_mean
from workflows.values import JsonObject

OUTCOME = {
    "failure": ExprType.STRING,
    "phase": ExprType.STRING,
    "message": ExprType.STRING,
    "attempt": ExprType.INTEGER,
    "failed_nodes": ExprType.LIST,
}
"""Fields of `outcome` and their types."""

NODE_FIELDS = ("name", "phase", "message", "exit_code")
"""Fields of each of `outcome.failed_nodes`."""

_VARIABLES = {f"outcome.{name}": type_ for name, type_ in OUTCOME.items()}
_MACROS = ("exists", "exists_one", "all", "filter", "map")
_READS = f"it reads {', '.join(_VARIABLES)}"


def check_retry_on(text: str) -> Checked:
    """Check an expression against what an outcome has; see `workflows.expressions.check`."""
    if issues := check_limits(text):
        return Checked(ExprType.ANY, (), tuple(issues))
    tokens = tokenize(text)
    if issues := [issue for at in range(len(tokens)) if (issue := _misread(tokens, at)) is not None]:
        return Checked(ExprType.ANY, (), tuple(issues))
    return check_against(text, _VARIABLES, _READS)


def wants_retry(message: AskRetry) -> bool:
    """What the expression says of an outcome.

    Raises:
        ExpressionFailed: it cannot be computed, or gives something else than true or false.
    """
    outcome = message.outcome
    nodes: list[JsonObject] = [node.model_dump(mode="json", include=set(NODE_FIELDS)) for node in outcome.failed_nodes]
    values: JsonObject = {
        "outcome.failure": str(outcome.failure or ""),
        "outcome.phase": outcome.phase,
        "outcome.message": outcome.message,
        "outcome.attempt": message.attempt,
        "outcome.failed_nodes": list(nodes),
    }
    place = f"step '{message.step}', retryOn"
    try:
        wanted = compile_expression(message.expression, _VARIABLES).evaluate(values)
    except ExpressionFailed as error:
        raise ExpressionFailed(f"{place}: {error.message}", hint=error.hint) from error
    if not isinstance(wanted, bool):
        raise ExpressionFailed(
            f"{place}: '{message.expression}' gives {show(wanted)}, not true or false", hint="compare it with something"
        )
    return wanted


def _misread(tokens: list[Token], at: int) -> Issue | None:
    """A field that the outcome or one of its nodes does not have, or a failure that there is not.

    The checker knows the nodes for a list of anything, so a slip in a field would show when the step has failed.
    """
    token = tokens[at]
    if token.kind is not Kind.NAME or (at > 0 and tokens[at - 1].text == "."):
        return None
    fields = tuple(OUTCOME) if token.text == "outcome" else NODE_FIELDS if token.text in _node_names(tokens) else None
    if fields is None:
        return None
    following = [t.text for t in tokens[at + 1 : at + 3]]
    if len(following) < 2 or following[0] != ".":
        whole = token.text == "outcome"
        return Issue("'outcome' cannot be read as a whole", token.start, _READS) if whole else None
    name = tokens[at + 2]
    if name.text not in fields:
        what = "an outcome" if token.text == "outcome" else "a failed node"
        return Issue(f"{what} has no '{name.text}'", name.start, did_you_mean(name.text, fields, what="it has"))
    return _impossible_failure(tokens, at) if following[1] == "failure" else None


def _node_names(tokens: list[Token]) -> set[str]:
    """The names that macros over `outcome.failed_nodes` give to a node."""
    words = [token.text for token in tokens]
    return {
        words[i + 6]
        for i in range(len(words) - 6)
        if words[i : i + 4] == ["outcome", ".", "failed_nodes", "."] and words[i + 4] in _MACROS and words[i + 5] == "("
    }


def _impossible_failure(tokens: list[Token], at: int) -> Issue | None:
    """A comparison with a word that no failure has would be false for ever, silently."""
    if at + 4 >= len(tokens) or tokens[at + 3].text not in ("==", "!=") or tokens[at + 4].kind is not Kind.STRING:
        return None
    word, known = tokens[at + 4].text.strip("'\""), [str(failure) for failure in FailureClass]
    if word in known:
        return None
    return Issue(f"there is no failure '{word}'", tokens[at + 4].start, did_you_mean(word, known, what="failures"))
