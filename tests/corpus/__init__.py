"""Runs folders of other people's manifests through a sandbox engine and judges what came of each."""
