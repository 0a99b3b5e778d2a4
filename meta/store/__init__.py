"""The service's store: published workflows, bundles, lineage of runs, trigger events.

Temporal is the truth about running things; this is lineage and search.
"""

from meta.store.store import Store

__all__ = ["Store"]
