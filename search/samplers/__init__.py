"""Optuna's samplers with the ledger as their memory, their budget, and study.db."""
