"""A corpus as it is wanted and as it lies on disk: specification, manifest, windows of tokens."""
