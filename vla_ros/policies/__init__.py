"""Policies: the protocol in base.py, the registry in registry.py, one adapter a file."""
