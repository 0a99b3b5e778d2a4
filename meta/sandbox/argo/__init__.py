"""A local server that speaks the REST API of Argo Workflows and runs its manifests as local processes.

For laptops, tests and demos. Apart from each other, so that each can grow: `api` (routes, errors, streams), `manifest`
(what is accepted), `state` (what is remembered), `operator` (the controller's logic, pure), `pods` (processes and
artifacts), and `controller`, which drives the last three.
"""

from meta.sandbox.argo.settings import ArgoSandboxSettings

__all__ = ["ArgoSandboxSettings"]
