"""Expressions: `{{=...}}`, `valueFrom.expression`, `fromExpression`, hooks and retries (expr-lang, as Argo uses it).

No library for Python speaks this language, so the part that manifests use is read and computed here: literals,
`a.b['c']`, `?.`, `??`, arithmetic, comparison, `&& || !` (or in words), `in`, `matches`, `contains`, `startsWith`,
`endsWith`, `? :`, lists, maps, closures, and the functions in `functions.FUNCTIONS`. The rest is refused by name when
a workflow is created. Source: expr-lang.org/docs/language-definition, util/template/expression_template.go.
"""

from meta.sandbox.argo.expressions.evaluate import Program, check_expression, compile_expression, environment
from meta.sandbox.argo.expressions.values import ExpressionError, Value, as_text, escaped, to_json, to_string

__all__ = [
    "ExpressionError",
    "Program",
    "Value",
    "as_text",
    "check_expression",
    "compile_expression",
    "environment",
    "escaped",
    "to_json",
    "to_string",
]
