"""The sandbox Kubeflow Pipelines server: the real v2beta1 API in front of `kfp.local`. See `app.py`."""
