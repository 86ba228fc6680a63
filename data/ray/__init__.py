"""Ray as a search and a preparation use it: addresses, connections, one of our own on this
machine."""
