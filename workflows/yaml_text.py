"""YAML that version 1.2 and Kubernetes' readers take alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

from workflows.values import JsonValue

_LIKE_A_NUMBER = re.compile(r"[-+.]?[0-9].*|\.(inf|nan)", re.IGNORECASE | re.DOTALL)

_BLOCK = re.compile("[^\\s](?:[^\x85\u2028\u2029]*[^\\s\x85\u2028\u2029])?\n?")
"""Texts that stand in a block as they are; others would end the document, or be read otherwise elsewhere."""


class _Dumper(yaml.SafeDumper):
    """Block style, texts of several lines as they are, and quotes where a reader of 1.2 would see a number."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "'" if _LIKE_A_NUMBER.fullmatch(value) else None
    if "\n" in value:
        style = "|" if _BLOCK.fullmatch(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


class Flow(dict[str, JsonValue]):
    """An object on one line: `{type: number, default: 1}`."""


class FlowList(list[JsonValue]):
    """A list on one line: `[prepare, train]`."""


def _flow(dumper: _Dumper, value: Flow) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


def _flow_list(dumper: _Dumper, value: FlowList) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Flow, _flow)
_Dumper.add_representer(FlowList, _flow_list)


def yaml_text(*documents: JsonValue, head: Sequence[str] = ()) -> str:
    """Documents as text, with comment lines before them."""
    body = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in head) + body
