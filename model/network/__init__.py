"""The transformer, its dropout and parametrization, several of them as one pack, and compiled
blocks."""
