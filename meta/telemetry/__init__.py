"""What leaves the house: traces to a collector."""
