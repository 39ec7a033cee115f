"""Networks as computations: flow samplers, what guides them, what a model encodes once."""
