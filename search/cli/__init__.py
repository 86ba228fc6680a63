"""From the command line's flags to a plan: the parser, the space, the experiment's folder."""
