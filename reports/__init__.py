"""The report of a search, from its ledger alone: tables, figures, claims, one page. No torch, no
Ray."""
