"""Argo Workflows as an engine: servers 3.6 to 4.x, over the Argo server's REST API."""
