"""Where trials run: this machine, the nodes of a Ray cluster, parts of a GPU."""
