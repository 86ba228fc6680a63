"""The trials of a plan: which there are, how long they are, which go together."""
