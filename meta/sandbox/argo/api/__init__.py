"""The REST API of the Argo server: routes, errors, selectors, streams."""
