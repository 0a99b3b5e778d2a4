"""What starts meta-runs by itself: messages."""
