"""The training loop: optimizer, step, checkpoints, rungs, trunks and packs."""
