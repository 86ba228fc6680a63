"""The loss on a split, and by document of it."""
