"""Tables of counts as models: what a network's loss is worth is seen beside theirs."""
