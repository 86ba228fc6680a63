"""The training loop: optimizer, step, evaluation, checkpoints, rungs, trunks and packs."""
