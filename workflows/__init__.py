"""What happens: definitions, plans, the Temporal workflow, and every decision that must be deterministic.

Nothing here touches the world, and nothing here imports `workers` or `meta`.
"""

PACKAGE_OF = "meta-workflows"  # read by meta.preflight: another `workflows` earlier on sys.path has no such name
