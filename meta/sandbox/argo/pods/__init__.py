"""Pods as local processes: folders, paths, artifacts, environment, logs."""
