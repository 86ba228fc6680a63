"""The ladder: rungs of short runs, what they say of a long one, and how far that can be trusted."""
