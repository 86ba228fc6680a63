"""What can vary and what is asked: axes, ranges, presets, objectives, the claims' grid."""
