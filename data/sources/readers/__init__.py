"""Readers: the bytes of one file of a kind to its documents."""
