"""Curves and results in W&B, MLflow and Trackio, which can neither stop a search nor slow it."""
