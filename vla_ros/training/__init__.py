"""From nothing to a checkpoint: demonstrations, the two training stages, the loop around them."""
