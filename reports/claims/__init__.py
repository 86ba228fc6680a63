"""The claims of the recipe's report, each tested against a ledger."""
