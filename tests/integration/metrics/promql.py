"""What an expression of PromQL asks for, through the parser of `promql-parser`, and the expressions that we ship."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[3]
ADDED = {"job", "instance"}  # labels that Prometheus gives to what it scrapes
_VARIABLES = {"$__rate_interval": "5m", "$workflow": "chain", "$engine": "argo"}  # as Grafana puts them in


@dataclass(frozen=True, slots=True)
class Asked:
    """A selector: the sample's name, and what its labels are compared with by `=`; others with None."""

    name: str
    labels: Mapping[str, str | None]


def parse(expression: str) -> promql_parser.Expr:
    """Parse an expression of a dashboard or an alert.

    Raises:
        ValueError: it is none; with the place.
    """
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def selectors(expression: str) -> list[Asked]:
    found: list[Asked] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            labels: dict[str, str | None] = {}
            for matcher in node.matchers.matchers:
                labels[matcher.name] = matcher.value if matcher.op == promql_parser.MatchOp.Equal else None
            found.append(Asked(node.name or "", labels))

    _walk(parse(expression), visit)
    return found


def grouped(expression: str) -> Iterator[tuple[set[str], list[Asked]]]:
    """Labels of each `by (...)`, with the selectors below it."""
    found: list[tuple[set[str], list[Asked]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.append((set(node.modifier.labels), selectors(node.expr.prettify())))

    _walk(parse(expression), visit)
    yield from found


def _walk(expression: promql_parser.Expr, visit: Any) -> None:
    def before(node: promql_parser.Expr) -> None:
        visit(node)

    promql_parser.walk(expression, before)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_tests() -> list[dict[str, Any]]:
    """Series and what they raise, for `promtool test rules`."""
    return yaml.safe_load((ROOT / "deploy/prometheus/alerts.test.yml").read_text())["tests"]


def dashboard() -> dict[str, Any]:
    return json.loads((ROOT / "deploy/grafana/dashboards/meta-workflows.json").read_text())


def expressions() -> dict[str, str]:
    """All that we ship, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            found[f"panel {panel['title']}, {target['refId']}"] = target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked is not None, variable
            found[f"variable {variable['name']}"] = f"sum by ({asked[2]}) ({asked[1]})"
    return found
