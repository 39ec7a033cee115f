"""Benchmarks of the safety filter: what it costs, beside its peers, and that it holds."""
