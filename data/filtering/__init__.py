"""What is left out: quality rules, exact and near duplicates, and the word table that they
share."""
