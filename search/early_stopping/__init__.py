"""Which trials are comparable at a rung, whether one goes on, and the files that remember it."""
