"""Bag replay: what a policy would have done, open loop and through the graph, and its verdict."""
