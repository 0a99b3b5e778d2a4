"""The service: gRPC API, SDK, command line, configuration, store, triggers, and the embedded stack."""

PACKAGE_OF = "meta-workflows"
__version__ = "0.1.0"
