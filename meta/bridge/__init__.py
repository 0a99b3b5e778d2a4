"""Serves clients of a pipeline bridge: requests and statuses on plain core NATS, which know nothing of this project."""
