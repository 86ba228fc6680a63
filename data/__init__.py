"""The text of a search: sources to clean, filtered, split and encoded token segments with a
manifest."""
