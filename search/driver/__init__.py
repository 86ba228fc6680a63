"""The loop that runs a plan on Ray Tune, and what hears of its trials: ledger, screen, curves,
disk."""
