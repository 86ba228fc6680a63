"""The live page: a running search in a browser, from its files alone."""
