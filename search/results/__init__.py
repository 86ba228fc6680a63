"""What a ledger says: configurations, winner, confirmation, statistics, fits and costs. No torch,
no Ray."""
