"""What runs inside a run's own environment: only `kfp_run` is on its path, and nothing else of ours."""
