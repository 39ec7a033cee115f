"""What is written for Gazebo goes to the test's own folder."""

from __future__ import annotations

import tempfile

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
