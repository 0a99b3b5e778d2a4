"""Requests that start KFP runs, in the templates of Argo: http templates, and scripts that can be followed.

A body is JSON with Argo's tags, `{{inputs.parameters.x}}`: inside a text, or bare in the place of a value.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from meta.importing.documents import At
from meta.importing.kfp_body import is_start
from meta.importing.paths import NotCarried
from meta.importing.python_request import python_body
from meta.importing.values import escaped
from workflows.values import JsonObject, JsonValue

TAG = re.compile(r"\{\{\s*([^{}=]+?)\s*\}\}")
_MARK = re.compile("\x01(\\d+)\x01")
_START = "/apis/v2beta1/runs"
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--json")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1[^\n]*\n(.*?)\n\s*\2\s*(?:\n|$)", re.DOTALL)

Tag = Callable[[str, bool], str]
"""From an Argo tag's name, and whether it stands bare in JSON, to the expression over `inputs` that has its value."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that starts a KFP run.

    Attributes:
        body: with templates over `inputs`.
        at: where it stands.
    """

    body: JsonObject
    at: At


def mentions_start(template: At) -> bool:
    """Whether a template speaks of KFP's runs at all."""
    return _START in json.dumps(template.value)


def request_of(template: At, tag: Tag) -> Request:
    """The request that a template makes.

    Raises:
        NotCarried: it makes another one, or in a way that cannot be followed; the text says which.
    """
    if "http" in template:
        return _http(template["http"], tag)
    for kind in ("script", "container"):
        if kind in template:
            return _program(template[kind], kind, tag)
    raise NotCarried("it is no http, script or container template")


def _http(at: At, tag: Tag) -> Request:
    method, url = at.text("method") or "GET", at.text("url")
    if not is_start(method, TAG.sub("x", url)):
        raise NotCarried(f"it does {method} {url}, which starts no KFP run")
    if "body" not in at:
        raise NotCarried("its body is not in the template (bodyFrom)")
    return Request(json_body(at.text("body"), tag), at["body"])


def _program(at: At, kind: str, tag: Tag) -> Request:
    variables = {one.text("name"): one.text("value") for one in at["env"].items() if "value" in one}
    words = [str(one.value) for key in ("command", "args") for one in at[key].items()]
    if kind == "script":
        source, place = at.text("source"), at["source"]
    else:
        source, place = (words[-1] if words else ""), at["args"] if "args" in at else at["command"]
    program = words[0].rpartition("/")[2] if words else ""
    if "kfp" in source and re.search(r"\bkfp\.Client\b|from kfp\b|import kfp\b", source):
        raise NotCarried("its program uses KFP's SDK; name the pipeline in a kfp step by hand")
    if program.startswith("python"):
        return Request(python_body(source, variables, lambda text: told(text, tag)), place)
    if program == "curl":
        return Request(_curl(words, variables, tag), place)
    if program in ("sh", "bash", "ash"):
        return Request(_shell(source, variables, tag), place)
    raise NotCarried(
        f"its program '{program or 'of the image'}' cannot be followed; http, curl and Python's requests can"
    )


def _shell(source: str, variables: Mapping[str, str], tag: Tag) -> JsonObject:
    """The curl command of a shell script, with its data in quotes or in a here-document."""
    heredocs = [(match[3], bool(match[1])) for match in _HEREDOC.finditer(source)]
    plain = _HEREDOC.sub("\n", source).replace("\\\n", " ")
    for line in re.split(r"\n|;|&&|\|\||\|", plain) if "'" not in plain else _commands(plain):
        if _START not in line or "curl" not in line:
            continue
        try:
            words = shlex.split(re.sub(r"\$\(|`", " ", line).strip("() "), comments=True)
        except ValueError as error:
            raise NotCarried(f"its curl command cannot be read: {error}") from None
        while words and words[0].rpartition("/")[2] != "curl":
            words = words[1:]
        if not words or not any(_START in word for word in words):
            continue
        data = _data(words)
        if data in ("@-", None) and heredocs:
            text, literal = heredocs[0]
            return json_body(text if literal else _expanded(text, variables), tag)
        if data is not None:
            return _curl(words, variables, tag)
    raise NotCarried("its script has no curl command with the request's JSON in quotes or a here-document")


def _commands(source: str) -> list[str]:
    """Commands of a script, with quotes kept whole."""
    found, current, quote = list[str](), "", ""
    for char in source:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "\n;|":
            found.append(current)
            current = ""
            continue
        current += char
    return [*found, current]


def _curl(words: list[str], variables: Mapping[str, str], tag: Tag) -> JsonObject:
    url = next((word for word in words if _START in word), "")
    method = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-X", "--request")), "POST")
    data = _data(words)
    if not is_start(method, TAG.sub("x", _VARIABLE.sub("x", url))) or data is None or data.startswith("@"):
        raise NotCarried(f"its curl command does {method} {url or 'nothing'}, without the request's JSON in it")
    return json_body(_expanded(data, variables), tag)


def _data(words: list[str]) -> str | None:
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _DATA:
            return value if equals else words[i + 1] if i + 1 < len(words) else None
        if word.startswith("-d") and len(word) > 2 and not word.startswith("--"):
            return word[2:]
    return None


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            raise NotCarried(f"the request has ${name}, which the script makes up; only 'env' with a value is known")
        return variables[name]

    return _VARIABLE.sub(value, text)


def json_body(text: str, tag: Tag) -> JsonObject:
    """JSON with Argo's tags, as an object with templates over `inputs`.

    Raises:
        NotCarried: it is no object of JSON.
    """
    tags: list[str] = []

    def marked(match: re.Match[str]) -> str:
        bare = not _inside_text(text, match.start())
        tags.append(tag(match[1], bare))
        mark = f"\x01{len(tags) - 1}\x01"
        return f'"{mark}"' if bare else mark

    try:
        found = cast(JsonValue, json.loads(TAG.sub(marked, text), strict=False))
    except ValueError as error:
        raise NotCarried(f"the request's body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotCarried("the request's body is no object")
    filled = _filled(found, tags)
    assert isinstance(filled, dict)
    return filled


def _inside_text(text: str, position: int) -> bool:
    """Whether an offset is inside a JSON string."""
    inside, escape = False, False
    for char in text[:position]:
        if escape:
            escape = False
        elif char == "\\" and inside:
            escape = True
        elif char == '"':
            inside = not inside
    return inside


def _filled(value: JsonValue, tags: list[str]) -> JsonValue:
    """The value with expressions in the place of marks."""
    if isinstance(value, dict):
        return {key: _filled(one, tags) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, tags) for one in value]
    if isinstance(value, str):
        out, at = "", 0
        for match in _MARK.finditer(value):
            out += escaped(value[at : match.start()]) + "${{ " + tags[int(match[1])] + " }}"
            at = match.end()
        return out + escaped(value[at:])
    return value


def told(text: str, tag: Tag) -> str:
    """A text with Argo's tags, as a template over `inputs`."""
    out, at = "", 0
    for match in TAG.finditer(text):
        out += escaped(text[at : match.start()]) + "${{ " + tag(match[1], False) + " }}"
        at = match.end()
    return out + escaped(text[at:])
