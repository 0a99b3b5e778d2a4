"""Results of a fan-out's items as lists: for the workflow that ran them, and for the store that keeps them."""

from __future__ import annotations

from workflows.fanout_messages import ItemLists, ItemRecord
from workflows.outcome import StepState


def lists_of(records: dict[int, ItemRecord], first: int, count: int) -> ItemLists:
    """Outputs and artifacts by name, one for each item, None where one did not succeed or gave none.

    Args:
        records: by place.
        first: place of the first item is `position` `first` + 1.
        count: how many items there are.
    """
    lists = ItemLists()
    for record in records.values():
        if record.state is not StepState.SUCCEEDED:
            continue
        place = record.position - first - 1
        for name, value in record.outputs.items():
            lists.outputs.setdefault(name, [None] * count)[place] = value
        for name, artifact in record.artifacts.items():
            lists.artifacts.setdefault(name, [None] * count)[place] = artifact
    return ItemLists(outputs=dict(sorted(lists.outputs.items())), artifacts=dict(sorted(lists.artifacts.items())))
