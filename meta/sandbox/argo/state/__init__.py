"""What the server remembers: workflows with their statuses, and the events that tell of changes."""
