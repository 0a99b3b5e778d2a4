"""Sandbox engines: local servers that speak the APIs of Argo Workflows and Kubeflow Pipelines."""
