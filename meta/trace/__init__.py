"""Traces of runs: made of what the store knows, exported, and drawn."""
