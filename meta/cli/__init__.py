"""The command line. It speaks gRPC to the service and does not import temporalio: see `meta.cli.__main__`."""
