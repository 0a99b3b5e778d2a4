"""Alembic's migrations of the store. `meta.store.migrate` runs them when a service or a worker starts.

A new one: change `meta/store/tables.py`, then `python -m meta.store.migrations.new "what changes"`.
"""
