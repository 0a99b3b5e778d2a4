"""Resource templates: kubectl's actions on the sandbox's own objects (workflow/executor/resource.go)."""
