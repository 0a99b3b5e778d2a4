"""Generated stubs of ML Metadata's protocol: see `metadata_store.proto` and `make generate`."""
