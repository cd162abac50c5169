"""What starts a run by itself: a delivered feed."""
