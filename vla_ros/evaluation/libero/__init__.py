"""LIBERO and SafeLIBERO, played in the Python where the user has them installed."""
