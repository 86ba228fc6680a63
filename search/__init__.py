"""What to try, where it runs, what it costs and what a ledger says."""
