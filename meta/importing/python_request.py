"""The request of a Python program that starts a KFP run: read from its syntax tree, never run.

Followed: `requests.post(url, json=...)` or `data=json.dumps(...)`, the same of `httpx` and of a session, and
`urllib.request.Request(url, data=json.dumps(...).encode())`; in the body literals, f-strings, `os.environ`, and names
that are assigned once to such.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meta.importing.paths import NotCarried
from workflows.values import JsonObject, JsonValue

_RUNS = re.compile(r"/apis/v2beta1/runs/?$")
_CALLS = frozenset({"post", "Request", "request"})


def python_body(source: str, variables: Mapping[str, str], told: Callable[[str], str]) -> JsonObject:
    """The body of the request.

    Args:
        source: the program; Argo's tags stand in its texts.
        variables: of its environment, with Argo's tags.
        told: turns text with tags into a template over `inputs`.

    Raises:
        NotCarried: there is no such request, or its body cannot be followed.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NotCarried(f"its Python cannot be read: {error}") from None
    reader = _Reader(_assigned(tree), variables, told)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS:
            if (body := _posted(node, reader)) is not None:
                found = reader.value(body)
                if isinstance(found, dict):
                    return found
                raise NotCarried("the body of its request is no object that can be read from the program")
    raise NotCarried("its Python has no requests.post(.../apis/v2beta1/runs, json=...) that can be followed")


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are assigned once in the whole program."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found.setdefault(node.target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _posted(call: ast.Call, reader: _Reader) -> ast.expr | None:
    """The body of a call that posts to KFP's runs."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if not any(reader.ends_at_runs(one) for one in [*call.args, *keywords.values()]):
        return None
    method = keywords.get("method")
    if method is not None and not (isinstance(method, ast.Constant) and method.value == "POST"):
        return None
    named = next((keywords[key] for key in ("json", "data", "content") if key in keywords), None)
    return named if named is not None else call.args[1] if len(call.args) > 1 else None


@dataclass(frozen=True, slots=True)
class _Reader:
    assigned: Mapping[str, ast.expr]
    variables: Mapping[str, str]
    told: Callable[[str], str]

    def ends_at_runs(self, node: ast.expr) -> bool:
        """Whether a text ends at KFP's runs; its beginning may be anything."""
        if isinstance(node, ast.Name):
            return node.id in self.assigned and self.ends_at_runs(self.assigned[node.id])
        if isinstance(node, ast.JoinedStr) and node.values:
            return self.ends_at_runs(node.values[-1])
        if isinstance(node, ast.BinOp):
            return self.ends_at_runs(node.right)
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(_RUNS.search(node.value))

    def value(self, node: ast.expr, depth: int = 0) -> JsonValue:  # noqa: PLR0911 - one for each form
        """The value of an expression, with templates over `inputs` for what Argo puts in."""
        if depth > 40:
            raise NotCarried("its Python goes in circles")
        deeper = depth + 1
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self.told(node.value)
            if node.value is None or isinstance(node.value, (bool, int, float)):
                return node.value
        if isinstance(node, ast.Dict):
            if all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys):
                keys = [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]
                return {key: self.value(one, deeper) for key, one in zip(keys, node.values, strict=True)}
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self.value(one, deeper) for one in node.elts]
        if isinstance(node, ast.Name) and node.id in self.assigned:
            return self.value(self.assigned[node.id], deeper)
        if isinstance(node, ast.JoinedStr):
            return "".join(self._part(one, deeper) for one in node.values)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            return self._variable(node.slice, None)
        if isinstance(node, ast.Call):
            return self._call(node, deeper)
        raise NotCarried(f"its Python computes a part of the request: {ast.unparse(node)[:60]}")

    def _call(self, node: ast.Call, depth: int) -> JsonValue:
        name = ast.unparse(node.func)
        if name in ("os.environ.get", "os.getenv") and node.args:
            return self._variable(node.args[0], node.args[1] if len(node.args) > 1 else None)
        if name == "json.loads" and len(node.args) == 1:
            text = self.value(node.args[0], depth)
            if isinstance(text, str) and "${{" not in text:
                try:
                    found: JsonValue = json.loads(text)
                except ValueError:
                    found = text
                return found
        last = name.rpartition(".")[2]
        if last in ("encode", "strip") and isinstance(node.func, ast.Attribute):
            return self.value(node.func.value, depth)
        if last in ("dumps", "str", "bytes") and node.args:
            return self.value(node.args[0], depth)
        raise NotCarried(f"its Python computes a part of the request: {ast.unparse(node)[:60]}")

    def _part(self, node: ast.expr, depth: int) -> str:
        inner = node.value if isinstance(node, ast.FormattedValue) else node
        found = self.value(inner, depth)
        return found if isinstance(found, str) else json.dumps(found)

    def _variable(self, name: ast.expr, default: ast.expr | None) -> str:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            if name.value in self.variables:
                return self.told(self.variables[name.value])
            if isinstance(default, ast.Constant) and isinstance(default.value, str):
                return self.told(default.value)
        raise NotCarried(f"its Python reads {ast.unparse(name)} from the environment, which the template does not set")
