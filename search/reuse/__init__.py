"""Trials of other experiments that are taken over: --extend and --warm-start."""
