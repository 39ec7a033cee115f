"""What holds for every test: an example may take as long as a busy machine needs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile('vla_ros', deadline=None)
settings.load_profile('vla_ros')
