"""Trees to values: operators, names, calls (vm/vm.go, vm/runtime/runtime.go)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache

from meta.sandbox.argo.expressions import parse as p
from meta.sandbox.argo.expressions.functions import CLOSURES, call, check_call, check_path, contains, text, whole
from meta.sandbox.argo.expressions.values import ExpressionError, Value, as_list, equal, is_number, kind

Environment = Mapping[str, Value]
LARGEST_RANGE = 10_000
_ROOTS = frozenset(
    {"workflow", "inputs", "outputs", "steps", "tasks", "item", "retries", "lastRetry", "node", "pod"}
)  # fmt: skip
_NOT_RE2 = re.compile(r"\(\?(?:[=!<>#(]|P=)|\\[1-9]|[*+?}]\+")  # what Go's regular expressions do not have


def environment(values: Mapping[str, Value]) -> dict[str, Value]:
    """Flat names (`inputs.parameters.x`) as nested maps; a longer name displaces the shorter one that holds it."""
    nested: dict[str, Value] = {}
    for name in sorted(values):
        *above, last = name.split(".")
        place = nested
        for part in above:
            inner = place.get(part)
            if not isinstance(inner, dict):
                place[part] = inner = dict[str, Value]()
            place = inner
        place[last] = values[name]
    return nested


class Program:
    """A parsed expression."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = p.parse(source)

    def evaluate(self, env: Environment) -> Value:
        """Compute it.

        Raises:
            ExpressionError: it cannot be computed on these values.
        """
        try:
            return _value(self.tree, env)
        except (OverflowError, ArithmeticError, RecursionError) as error:
            raise ExpressionError(f"unable to evaluate expression '{self.source}': {error}") from error

    def holds(self, env: Environment) -> bool:
        """Compute a condition (argoexpr.EvalBool).

        Raises:
            ExpressionError: it cannot be computed, or is no boolean.
        """
        found = self.evaluate(env)
        if not isinstance(found, bool):
            raise ExpressionError(f"unable to cast expression result '{found}' to bool")
        return found

    def missing(self, env: Environment) -> list[str]:
        """The names that it reads and that do not exist; those under `??` and `?.` need not."""
        found: list[str] = []
        for node, guarded in _nodes(self.tree, guarded=False):
            path = None if guarded else _path(node)
            if path is not None and path[0] != "#" and not _exists(path, env):
                found.append(".".join(path))
        return found


@lru_cache(maxsize=512)
def compile_expression(source: str) -> Program:
    """Read an expression.

    Raises:
        ExpressionError: it is none, or uses what is not supported here.
    """
    return Program(source)


def check_expression(source: str, roots: Collection[str] = _ROOTS) -> list[tuple[str, ...]]:
    """Check an expression before there are values.

    Args:
        source: the expression.
        roots: the names that it may read.

    Returns:
        What it reads: `("inputs", "parameters", "x")`.

    Raises:
        ExpressionError: it is none, or names a function, a variable or an operator that the sandbox does not have.
    """
    paths: list[tuple[str, ...]] = []
    for node, _ in _nodes(compile_expression(source).tree, guarded=False):
        if isinstance(node, p.Call):
            _check_call(node)
        path = _path(node)
        if path is not None and path[0] != "#":
            if path[0] not in roots:
                raise ExpressionError(f"unknown name {path[0]} in '{source}'")
            paths.append(path)
    return paths


def _check_call(node: p.Call) -> None:
    check_call(node.function, len(node.arguments))
    if node.function == "jsonpath" and isinstance(node.arguments[1], p.Literal):
        check_path(text(node.arguments[1].value))


def _nodes(node: p.Node, *, guarded: bool) -> Iterator[tuple[p.Node, bool]]:
    """Every node once; of `a.b.c` only the whole, with whether a `??` or `?.` stands over it."""
    yield node, guarded
    if _path(node) is None:
        for part, over in _parts(node):
            yield from _nodes(part, guarded=guarded or over)


def _parts(node: p.Node) -> list[tuple[p.Node, bool]]:  # noqa: PLR0911 - one for each kind of node
    """The nodes right below one, with whether it guards them."""
    match node:
        case p.Member():
            return [(node.base, node.optional), (node.key, False)]
        case p.Unary():
            return [(node.operand, False)]
        case p.Binary():
            return [(node.left, node.operator == "??"), (node.right, False)]
        case p.Choice():
            return [(part, False) for part in (node.condition, node.yes, node.no)]
        case p.Call():
            return [(part, False) for part in node.arguments]
        case p.ListOf():
            return [(part, False) for part in node.items]
        case p.MapOf():
            return [(part, False) for _, part in node.entries]
        case _:
            return []


def _path(node: p.Node) -> tuple[str, ...] | None:
    """`a.b['c']` as its parts; None for anything else."""
    parts: list[str] = []
    while isinstance(node, p.Member):
        if node.optional or not isinstance(node.key, p.Literal) or not isinstance(node.key.value, str):
            return None
        parts.append(node.key.value)
        node = node.base
    return (node.name, *reversed(parts)) if isinstance(node, p.Name) else None


def _exists(path: tuple[str, ...], env: Environment) -> bool:
    place: Environment | Value = env
    for part in path:
        if not isinstance(place, Mapping) or part not in place:
            return False
        place = place[part]
    return True


def _value(node: p.Node, env: Environment) -> Value:  # noqa: PLR0911 - one for each kind of node
    match node:
        case p.Literal():
            return node.value
        case p.Name():
            if node.name not in env:
                raise ExpressionError(f"unknown name {node.name}")
            return env[node.name]
        case p.Member():
            return _member(node, env)
        case p.Unary():
            return _unary(node.operator, _value(node.operand, env))
        case p.Binary():
            return _binary(node, env)
        case p.Choice():
            return _value(node.yes if _boolean(_value(node.condition, env)) else node.no, env)
        case p.Call():
            return _call(node, env)
        case p.ListOf():
            return [_value(item, env) for item in node.items]
        case p.MapOf():
            return {text(_value(key, env)): _value(item, env) for key, item in node.entries}


def _member(node: p.Member, env: Environment) -> Value:
    base, key = _value(node.base, env), _value(node.key, env)
    if base is None and node.optional:
        return None
    if isinstance(base, dict):
        return base.get(key) if isinstance(key, str) else None
    if isinstance(base, list) and is_number(key):
        items = base
        index = int(key) if key >= 0 else len(items) + int(key)
        if not 0 <= index < len(items):
            raise ExpressionError(f"index out of range: {int(key)} (array length is {len(items)})")
        return items[index]
    raise ExpressionError(f"cannot fetch {key} from {kind(base)}")


def _call(node: p.Call, env: Environment) -> Value:
    _check_call(node)
    closure = CLOSURES.get(node.function)
    if closure is not None:
        items, body = as_list(_value(node.arguments[0], env), node.function), node.arguments[1]
        return closure(items, lambda item: _value(body, {**env, "#": item}))
    return call(node.function, [_value(argument, env) for argument in node.arguments])


def _boolean(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"a boolean is wanted, not {kind(value)}")


def _unary(operator: str, value: Value) -> Value:
    if operator in {"not", "!"}:
        return not _boolean(value)
    if not is_number(value):
        raise ExpressionError(f"invalid operation: {operator} {kind(value)}")
    return -value if operator == "-" else value


def _binary(node: p.Binary, env: Environment) -> Value:  # noqa: PLR0911 - one for each kind of operator
    operator = node.operator
    if operator in {"&&", "and"}:
        return _boolean(_value(node.left, env)) and _boolean(_value(node.right, env))
    if operator in {"||", "or"}:
        return _boolean(_value(node.left, env)) or _boolean(_value(node.right, env))
    if operator == "??":
        left = _value(node.left, env)
        return left if left is not None else _value(node.right, env)
    left, right = _value(node.left, env), _value(node.right, env)
    if operator in {"==", "!="}:
        kinds = {_static(node.left, left), _static(node.right, right)}
        if len(kinds - {None}) == 2 and left is not None and right is not None:
            raise ExpressionError(f"invalid operation: {operator} (mismatched types {kind(left)} and {kind(right)})")
        return equal(left, right) == (operator == "==")
    if operator == "in":
        return contains(right, left)
    if operator == "..":
        first, last = whole(left), whole(right)
        if last - first >= LARGEST_RANGE:
            raise ExpressionError("the range is too large")
        return list[Value](range(first, last + 1))
    if is_number(left) and is_number(right):
        return _arithmetic(operator, left, right)
    if isinstance(left, str) and isinstance(right, str) and operator in _ON_TEXT:
        return _ON_TEXT[operator](left, right)
    raise ExpressionError(f"invalid operation: {kind(left)} {operator} {kind(right)}")


def _static(node: p.Node, value: Value) -> str | None:
    """The kind of what has a type before it is computed, as the real compiler checks it; None for the rest."""
    if not isinstance(node, (p.Literal, p.Name, p.ListOf, p.MapOf)):
        return None
    return "number" if is_number(value) else kind(value)


def _arithmetic(operator: str, left: int | float, right: int | float) -> Value:
    if operator == "%":
        if isinstance(left, float) or isinstance(right, float) or right == 0:
            raise ExpressionError("invalid operation: % wants whole numbers, and no division by zero")
        return left - right * int(left / right) if abs(left) < 2**53 else abs(left) % abs(right)
    if operator == "/":
        if right == 0:
            raise ExpressionError("division by zero gives no number that JSON has")
        return left / right
    if operator in _ON_NUMBERS:
        return _ON_NUMBERS[operator](left, right)
    raise ExpressionError(f"invalid operation: {kind(left)} {operator} {kind(right)}")


def _matches(value: str, pattern: str) -> bool:
    if _NOT_RE2.search(pattern):
        raise ExpressionError(f"error parsing regexp: `{pattern}`")
    try:
        return re.search(pattern, value) is not None
    except re.error as error:
        raise ExpressionError(f"error parsing regexp: {error}: `{pattern}`") from error


_ON_NUMBERS: Mapping[str, Callable[[int | float, int | float], Value]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "**": lambda a, b: float(a) ** float(b), "^": lambda a, b: float(a) ** float(b),
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_ON_TEXT: Mapping[str, Callable[[str, str], Value]] = {
    "+": lambda a, b: a + b, "contains": lambda a, b: b in a, "startsWith": lambda a, b: a.startswith(b),
    "endsWith": lambda a, b: a.endswith(b), "matches": _matches, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
