"""The claims of the assignment's report, each tested against a ledger."""
