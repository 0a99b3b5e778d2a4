"""Expressions: CEL in `when` and inside `${{ }}`.

`tokens`, `references` and `templates` are pure and light: the Temporal workflow plans with them. `cel` (the library's
facade) and what stands on it are imported where expressions are checked or evaluated, never by the workflow.
"""
