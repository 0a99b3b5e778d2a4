"""Values that are known when a run is under way: an input, an output, and what is computed from them.

They are no values of Python's: operators on them write the expression (CEL) that the run will evaluate.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Generic, NoReturn, TypeVar, cast

from typing_extensions import TypeVar as DefaultedTypeVar

from workflows.dsl.literals import literal
from workflows.expressions.templates import CLOSE, OPEN
from workflows.values import ValueType

T = DefaultedTypeVar("T", default=Any)
U = TypeVar("U")


class Level(IntEnum):
    """How tightly the outermost operator of an expression binds: CEL's grammar, loosest first."""

    CHOICE = 0
    OR = 1
    AND = 2
    RELATION = 3
    SUM = 4
    PRODUCT = 5
    SIGN = 6
    MEMBER = 7


class Expression:
    """Something that a run can read. In a text (an f-string) it stands for its value then."""

    __hash__ = None  # pyright: ignore[reportAssignmentType] -- `==` writes an expression

    def __init__(self, cel: str, level: Level = Level.MEMBER) -> None:
        self._cel = cel
        self._level = level

    @property
    def cel(self) -> str:
        """The expression, as `when` of a YAML definition has it."""
        return self._cel

    def __cel__(self) -> str:
        return self._cel

    def __str__(self) -> str:
        return f"{OPEN} {self._cel} {CLOSE}"

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError(f"'{self._cel}' has no value yet, so it cannot be formatted by '{spec}': leave that out")
        return str(self)

    def __repr__(self) -> str:
        return f"<{self._cel}>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"'{self._cel}' has no value yet: it is computed when a run is under way, so Python cannot decide by it. "
            "Give it to a step: when=...; write & for 'and', | for 'or', ~ for 'not', (a < x) & (x < b) for "
            "'a < x < b', choose(condition, a, b) for 'a if condition else b', x.is_in([...]) for 'x in [...]'"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"'{self._cel}' has no items yet, so Python cannot loop over it. Run a step for each of them: "
            "flow.step(..., foreach=...); or write .map(lambda x: ...)"
        )

    def __len__(self) -> NoReturn:
        raise TypeError(f"'{self._cel}' has no length yet: write .size()")

    def __int__(self) -> NoReturn:
        raise TypeError(f"'{self._cel}' has no value yet: write integer(...) of meta.dsl")

    def __float__(self) -> NoReturn:
        raise TypeError(f"'{self._cel}' has no value yet: write number(...) of meta.dsl")

    def _at(self, level: Level) -> str:
        return written(self, level)


class Value(Expression, Generic[T]):  # noqa: PLW1641 -- Expression has taken __hash__ out
    """A value of type `T`, once the run is there.

    Comparisons give a `Value[bool]`, which `when` takes; `&`, `|` and `~` are and, or, not.
    """

    def __init__(self, cel: str, level: Level = Level.MEMBER, type_: ValueType | None = None) -> None:
        super().__init__(cel, level)
        self._type = type_  # as far as it is known here; a field may be called `type`

    def __eq__(self, other: object) -> Value[bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._relation("==", other)

    def __ne__(self, other: object) -> Value[bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._relation("!=", other)

    def __lt__(self, other: object) -> Value[bool]:
        return self._relation("<", other)

    def __le__(self, other: object) -> Value[bool]:
        return self._relation("<=", other)

    def __gt__(self, other: object) -> Value[bool]:
        return self._relation(">", other)

    def __ge__(self, other: object) -> Value[bool]:
        return self._relation(">=", other)

    def __and__(self, other: Value[bool] | bool) -> Value[bool]:
        return _both(self, "&&", other, Level.AND)

    def __rand__(self, other: bool) -> Value[bool]:
        return _both(other, "&&", self, Level.AND)

    def __or__(self, other: Value[bool] | bool) -> Value[bool]:
        return _both(self, "||", other, Level.OR)

    def __ror__(self, other: bool) -> Value[bool]:
        return _both(other, "||", self, Level.OR)

    def __invert__(self) -> Value[bool]:
        _truth(self, "~")
        return Value(f"!{self._at(Level.MEMBER)}", Level.SIGN, ValueType.BOOLEAN)

    def __add__(self, other: object) -> Value[T]:
        return self._computed("+", other, Level.SUM)

    def __radd__(self, other: object) -> Value[T]:
        return self._computed("+", other, Level.SUM, swapped=True)

    def __sub__(self, other: object) -> Value[T]:
        return self._computed("-", other, Level.SUM)

    def __rsub__(self, other: object) -> Value[T]:
        return self._computed("-", other, Level.SUM, swapped=True)

    def __mul__(self, other: object) -> Value[T]:
        return self._computed("*", other, Level.PRODUCT)

    def __rmul__(self, other: object) -> Value[T]:
        return self._computed("*", other, Level.PRODUCT, swapped=True)

    def __truediv__(self, other: object) -> Value[T]:
        return self._computed("/", other, Level.PRODUCT)

    def __rtruediv__(self, other: object) -> Value[T]:
        return self._computed("/", other, Level.PRODUCT, swapped=True)

    def __mod__(self, other: object) -> Value[T]:
        return self._computed("%", other, Level.PRODUCT)

    def __rmod__(self, other: object) -> Value[T]:
        return self._computed("%", other, Level.PRODUCT, swapped=True)

    def __floordiv__(self, other: object) -> NoReturn:
        raise TypeError(f"expressions have no '//': write {self._cel} / n, which is whole for integers")

    def __neg__(self) -> Value[T]:
        return Value(f"-{self._at(Level.MEMBER)}", Level.SIGN, self._type)

    def __getitem__(self, key: Value[Any] | str | int) -> Value[Any]:
        """An item of a list or a field of an object."""
        if isinstance(key, str) and key.isidentifier() and key.isascii() and key not in _RESERVED:
            return Value(f"{self._at(Level.MEMBER)}.{key}")
        return Value(f"{self._at(Level.MEMBER)}[{literal(key)}]")

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(f"Python's 'in' gives True or False at once: write is_in(x, y) or y.has_item(x) for '{self}'")

    def size(self) -> Value[int]:
        """Characters of a text, items of a list, keys of an object."""
        return self._call("size", (), ValueType.INTEGER)

    def contains(self, text: Value[str] | str) -> Value[bool]:
        """Whether a text has another one in it."""
        return self._call("contains", (text,), ValueType.BOOLEAN)

    def starts_with(self, text: Value[str] | str) -> Value[bool]:
        return self._call("startsWith", (text,), ValueType.BOOLEAN)

    def ends_with(self, text: Value[str] | str) -> Value[bool]:
        return self._call("endsWith", (text,), ValueType.BOOLEAN)

    def matches(self, pattern: str) -> Value[bool]:
        """Whether a regular expression (RE2) is found in a text."""
        return self._call("matches", (pattern,), ValueType.BOOLEAN)

    def is_in(self, items: object) -> Value[bool]:
        """Whether it is an item of a list, or a key of an object."""
        return self._relation("in", items)

    def has_item(self, item: object) -> Value[bool]:
        """Whether a list has an item, or an object a key."""
        return Value(f"{written(item, Level.SUM)} in {self._at(Level.SUM)}", Level.RELATION, ValueType.BOOLEAN)

    def map(self, of_item: Callable[[Value[Any]], object]) -> Value[list[Any]]:
        """A list with what each item becomes: `sizes.map(lambda size: size * 10)`."""
        return self._macro("map", of_item, ValueType.LIST)

    def filter(self, condition: Callable[[Value[Any]], object]) -> Value[list[Any]]:
        """A list of the items for which a condition is true."""
        return self._macro("filter", condition, ValueType.LIST)

    def all(self, condition: Callable[[Value[Any]], object]) -> Value[bool]:
        return self._macro("all", condition, ValueType.BOOLEAN)

    def exists(self, condition: Callable[[Value[Any]], object]) -> Value[bool]:
        """Whether a condition is true of an item at least."""
        return self._macro("exists", condition, ValueType.BOOLEAN)

    def _relation(self, operator: str, other: object) -> Value[bool]:
        text = f"{self._at(Level.SUM)} {operator} {written(other, Level.SUM)}"
        return Value(text, Level.RELATION, ValueType.BOOLEAN)

    def _computed(self, operator: str, other: object, level: Level, *, swapped: bool = False) -> Value[T]:
        first, second = (other, self) if swapped else (self, other)
        tighter = Level(level + 1)
        return Value(f"{written(first, level)} {operator} {written(second, tighter)}", level, _sum_type(self, other))

    def _call(self, name: str, arguments: tuple[object, ...], type_: ValueType) -> Value[Any]:
        given = ", ".join(written(one, Level.CHOICE) for one in arguments)
        return Value(f"{self._at(Level.MEMBER)}.{name}({given})", Level.MEMBER, type_)

    def _macro(self, name: str, body: Callable[[Value[Any]], object], type_: ValueType) -> Value[Any]:
        (variable,) = inspect.signature(body).parameters
        inner = written(body(Value(variable)), Level.CHOICE)
        return Value(f"{self._at(Level.MEMBER)}.{name}({variable}, {inner})", Level.MEMBER, type_)


_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package namespace return var void"
    " while".split()
)
"""Words that CEL keeps for itself (https://github.com/google/cel-spec/blob/master/doc/langdef.md, RESERVED)."""


def written(operand: object, level: Level) -> str:
    """An operand's text where only what binds at least so tightly can stand; else it is put in brackets."""
    if isinstance(operand, Expression):
        return operand.cel if operand._level >= level else f"({operand.cel})"  # pyright: ignore[reportPrivateUsage]
    text = literal(operand)
    return f"({text})" if text.startswith("-") and level >= Level.MEMBER else text


def _both(first: object, operator: str, second: object, level: Level) -> Value[bool]:
    for one in (first, second):
        _truth(one, "&" if operator == "&&" else "|")
    text = f"{written(first, level)} {operator} {written(second, Level(level + 1))}"
    return Value(text, level, ValueType.BOOLEAN)


def type_of(value: object) -> ValueType | None:
    """The type of a value of the run, as far as it is known here; a public field would hide one called `type`."""
    return cast("Value[Any]", value)._type if isinstance(value, Value) else None  # pyright: ignore[reportPrivateUsage]


def _truth(operand: object, operator: str) -> None:
    """Python's & binds tighter than its comparisons, so a forgotten bracket shows here.

    Raises:
        TypeError: it is no condition.
    """
    found = type_of(operand)
    if isinstance(operand, bool) or (isinstance(operand, Value) and found in (None, ValueType.BOOLEAN)):
        return
    what = f"'{operand.cel}' is of type {found}" if isinstance(operand, Expression) else f"{operand!r} is no condition"
    raise TypeError(
        f"'{operator}' joins conditions, and {what}. It binds tighter than a comparison: write (a > 1) & (b == 2)"
    )


def _sum_type(first: Value[Any], second: object) -> ValueType | None:
    beside = ValueType.NUMBER if isinstance(second, float) else type_of(first)
    found = type_of(cast(object, second)) if isinstance(second, Value) else beside
    if ValueType.NUMBER in (type_of(first), found) and {type_of(first), found} <= {ValueType.NUMBER, ValueType.INTEGER}:
        return ValueType.NUMBER
    return type_of(first) if type_of(first) is found else None


# Functions


def cel(text: str) -> Value[Any]:
    """An expression as it stands, for what the operators here cannot say."""
    return Value(text, Level.CHOICE)


def choose(condition: Value[bool], then: object, otherwise: object) -> Value[Any]:
    """`then` where the condition is true, else `otherwise`."""
    _truth(condition, "choose")
    text = f"{written(condition, Level.OR)} ? {written(then, Level.OR)} : {written(otherwise, Level.CHOICE)}"
    return Value(text, Level.CHOICE)


def least(*values: object) -> Value[Any]:
    """The smallest of some numbers."""
    return _function("math.least", values)


def greatest(*values: object) -> Value[Any]:
    """The largest of some numbers."""
    return _function("math.greatest", values)


def string(value: object) -> Value[str]:
    """A value as text."""
    return _function("string", (value,), ValueType.STRING)


def integer(value: object) -> Value[int]:
    """A text or a number as an integer."""
    return _function("int", (value,), ValueType.INTEGER)


def number(value: object) -> Value[float]:
    """A text or an integer as a number."""
    return _function("double", (value,), ValueType.NUMBER)


def _function(name: str, arguments: tuple[object, ...], type_: ValueType | None = None) -> Value[Any]:
    return Value(f"{name}({', '.join(written(one, Level.CHOICE) for one in arguments)})", Level.MEMBER, type_)
