"""Cross-entropy of the output head without all logits in memory, on CPU and GPU."""
