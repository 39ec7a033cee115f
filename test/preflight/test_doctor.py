"""The doctor finds what is missing and says how to cure it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from vla_ros.preflight import doctor


def _by_name() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_every_bad_finding_has_a_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', missing)
    monkeypatch.setattr(doctor.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.ctypes.util, 'find_library', lambda name: None)
    monkeypatch.setenv(doctor.PROFILE, str(tmp_path / 'none.xml'))
    found = _by_name()
    for name in (*doctor.PACKAGES, 'egl', 'rclpy', 'vla_ros_msgs', 'dds profile'):
        assert not found[name].ok, name
        assert found[name].cure, name


def test_profile_that_is_there_is_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = tmp_path / 'fastdds.xml'
    profile.write_text('<dds/>')
    monkeypatch.setenv(doctor.PROFILE, str(profile))
    assert _by_name()['dds profile'].ok


def test_robots_and_policies_of_the_package_are_good() -> None:
    found = _by_name()
    assert found['robot panda'].ok
    assert found['policy hold'].ok
