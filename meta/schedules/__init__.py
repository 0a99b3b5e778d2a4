"""Schedules of published definitions: Temporal Schedules that follow them."""
