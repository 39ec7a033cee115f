"""Controllers: how commands reach them, and doubles that behave as they do."""
