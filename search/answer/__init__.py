"""What a search says at its end: the five lines, what to run next, and the tables of trials."""
