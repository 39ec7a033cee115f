"""Checks before anything moves."""
