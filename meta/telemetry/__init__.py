"""What leaves the process for observers: traces, metrics, logs, lineage."""
