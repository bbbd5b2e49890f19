"""From a committed conversion to the network's final answer."""
