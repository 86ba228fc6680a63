"""What a plan will cost in time, memory and disk, measured here, and what of it can't run."""
