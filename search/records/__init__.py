"""An experiment's files and their schema: plan, ledger, trial folders, clock, provenance."""
