"""What touches the world: Temporal activities, engine adapters, shared watchers, artifact stores."""

PACKAGE_OF = "meta-workflows"
