"""What an expression reads: `inputs.x`, `run.id`, `state`, `outputs.y`, `artifacts.z` of `steps.train`, or an `item`.

Found without the CEL library, because the plan is computed inside the Temporal workflow, where a library upgrade must
not change it. Validation checks the finding against the library's own reading (`workflows.expressions.check`).
"""

from __future__ import annotations

from dataclasses import dataclass

from workflows.errors import ExpressionFailed
from workflows.expressions.tokens import Kind, Token, tokenize
from workflows.suggest import did_you_mean

ITEM, INDEX = "item", "index"
"""What a fan-out runs over, and its place from 0: read as they stand, whatever follows."""

ITEM_ROOTS = (ITEM, INDEX)
ROOTS = ("inputs", "steps", "run", *ITEM_ROOTS)
_BINDING = frozenset({"map", "filter", "all", "exists", "exists_one"})
RUN_FIELDS = ("id", "workflow")
STEP_FIELDS = ("state", "outputs", "artifacts")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One thing that an expression reads.

    Attributes:
        root: `inputs`, `steps`, `run`, `item` or `index`.
        name: of the input, the step, or the field of the run; empty for `item` and `index`.
        field: of a step: `state`, `outputs` or `artifacts`; else empty.
        item: name of the output or artifact; else empty.
    """

    root: str
    name: str = ""
    field: str = ""
    item: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.root, self.name, self.field, self.item) if part)

    @property
    def step(self) -> str | None:
        """The step that it reads, if it reads one."""
        return self.name if self.root == "steps" else None


@dataclass(frozen=True, slots=True)
class Found:
    """A reference and where it stands in its expression (offsets in code points, `end` exclusive)."""

    reference: Reference
    start: int
    end: int


class ReferenceMalformed(ExpressionFailed):
    """A root (`inputs`, `steps`, `run`) that is not followed by what it must be.

    Attributes:
        offset: of the word in the expression, in code points.
    """

    def __init__(self, message: str, offset: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


def find_references(expression: str) -> list[Found]:
    """Every reference, in the order of the text, repeated ones repeated.

    Raises:
        ReferenceMalformed: the first one that is cut short or reads what nothing has, as `steps.train` alone.
    """
    tokens = tokenize(expression)
    bound = _bound(tokens)
    found: list[Found] = []
    for i, token in enumerate(tokens):
        if token.kind is not Kind.NAME or token.text not in ROOTS or token.text in bound:
            continue
        if i > 0 and tokens[i - 1].text == ".":
            if i > 1 and _ends_operand(tokens[i - 2]):
                continue  # a field of something else that happens to have this name
            raise ReferenceMalformed("a name cannot begin with a dot", tokens[i - 1].start, hint="leave the dot out")
        found.append(_read(expression, tokens, i))
    return found


def references(expression: str) -> frozenset[Reference]:
    """The distinct references of an expression; see `find_references`."""
    return frozenset(f.reference for f in find_references(expression))


def _bound(tokens: list[Token]) -> frozenset[str]:
    """`item` and `index` where the expression uses the word for its own: `inputs.sizes.map(item, item * 2)`."""
    return frozenset(
        token.text
        for i, token in enumerate(tokens)
        if token.text in ITEM_ROOTS
        and 2 <= i < len(tokens) - 1
        and (tokens[i - 2].text, tokens[i - 1].text, tokens[i + 1].text) in {(name, "(", ",") for name in _BINDING}
    )


def _ends_operand(token: Token) -> bool:
    return token.kind is not Kind.OPERATOR or token.text in ")]}"


def _read(expression: str, tokens: list[Token], at: int) -> Found:
    if tokens[at].text in ITEM_ROOTS:
        return Found(Reference(tokens[at].text), tokens[at].start, tokens[at].end)
    names = [tokens[at].text]
    last = at
    while (
        len(names) < 4
        and last + 2 < len(tokens)
        and tokens[last + 1].text == "."
        and tokens[last + 2].kind is Kind.NAME
        and not _is_call(tokens, last + 2)
    ):
        names.append(tokens[last + 2].text)
        last += 2
        if len(names) == _length(names):
            break
    start, end = tokens[at].start, tokens[last].end
    _check(expression, tokens, names, last, start)
    wanted = _length(names)
    if last + 1 < len(tokens) and tokens[last + 1].text == ")" and _is_has(tokens, at):
        raise ReferenceMalformed(
            f"has() cannot test {expression[start:end]}: it tests a field of an object",
            start,
            hint=f"compare steps.{names[1]}.state with 'succeeded'" if names[0] == "steps" else "compare it with null",
        )
    return Found(Reference(*names[:wanted]), start, end)


def _length(names: list[str]) -> int:
    """How many words the reference that begins so has."""
    if names[0] != "steps":
        return 2
    return 3 if len(names) >= 3 and names[2] == "state" else 4


def _is_call(tokens: list[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].text == "("


def _is_has(tokens: list[Token], at: int) -> bool:
    return at >= 2 and tokens[at - 1].text == "(" and tokens[at - 2].text == "has"


def _check(expression: str, tokens: list[Token], names: list[str], last: int, start: int) -> None:
    """Refuse a reference that is cut short, and say what it could be."""
    written = expression[start : tokens[last].end]
    follows = tokens[last + 1].text if last + 1 < len(tokens) else ""
    if names[0] != "steps":
        if len(names) < 2:
            hint = "write inputs.<name>" if names[0] == "inputs" else "write run.id or run.workflow"
            if follows == "[":
                hint += "; names of inputs are written with a dot"
            raise ReferenceMalformed(f"'{written}' cannot be read as a whole", start, hint=hint)
        return
    if len(names) >= 3 and names[2] not in STEP_FIELDS:
        raise ReferenceMalformed(
            f"a step has no '{names[2]}'",
            start,
            hint=did_you_mean(names[2], STEP_FIELDS, what="a step has"),
        )
    if len(names) < _length(names):
        step = names[1] if len(names) > 1 else "<step>"
        what = {"outputs": ".outputs.<name>", "artifacts": ".artifacts.<name>"}.get(names[-1] if len(names) > 2 else "")
        what = what or ".state, .outputs.<name> or .artifacts.<name>"
        raise ReferenceMalformed(f"'{written}' cannot be read as a whole", start, hint=f"write steps.{step}{what}")
