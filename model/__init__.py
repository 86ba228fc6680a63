"""A small GPT and its training, without Ray: configuration, network, loss, loop, sampling and
export."""
