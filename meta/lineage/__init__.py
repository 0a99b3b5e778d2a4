"""Tells an OpenLineage receiver which run read and wrote what."""
