"""Kubeflow Pipelines v2 as an engine: servers 2.x (outputs from ML Metadata) and 3.x (outputs over REST)."""
