"""What goes out: life-cycle events of runs, as CloudEvents on NATS."""
