"""What the workflow controller does: from a spec and a status, the next status and the pods to run.

Pure: no clock but the one given, no input or output; the controller (`meta/sandbox/argo/controller.py`) runs it.
"""
