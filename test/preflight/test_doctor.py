"""The doctor finds what a machine lacks and says how to cure it."""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import subprocess
import sys

import pytest

from vla_ros import config, paths
from vla_ros.preflight import doctor
from vla_ros.preflight.finding import Finding
from vla_ros.preflight.inspect import inspect_machine, read_profile, unprofiled
from vla_ros.spec import PolicySpec

HOLD = config.load(paths.find('policies', 'hold'), PolicySpec)


def _by_name() -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_every_bad_finding_has_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', missing)
    monkeypatch.setattr(doctor.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.ctypes.util, 'find_library', lambda name: None)
    found = _by_name()
    for name in (*doctor.PACKAGES, 'egl', 'rclpy', 'vla_ros_msgs'):
        assert not found[name].ok, name
        assert found[name].cure, name


def test_robots_and_policies_of_the_package_are_good() -> None:
    found = _by_name()
    assert found['robot panda'].ok
    assert found['policy hold'].ok


def test_our_profile_is_read_and_one_that_is_no_xml_is_none(tmp_path: Path) -> None:
    ours = read_profile(str(paths.share() / 'config' / 'dds' / 'fastdds.xml'))
    assert ours is not None
    assert (ours.segment, ours.message, ours.buffer) == (32 * 2**20, 8 * 2**20, 8 * 2**20)
    (tmp_path / 'text.xml').write_text('<dds')
    for file in (tmp_path / 'text.xml', tmp_path / 'none.xml', ''):
        assert read_profile(str(file)) is None


def test_the_machine_is_read_without_a_model() -> None:
    machine = inspect_machine(HOLD, {'ROS_DOMAIN_ID': '7'})
    assert machine.domain == '7' and machine.profile is None
    assert machine.discovery == 'SUBNET'
    assert machine.cores >= 1 and machine.memory_free > 0 and machine.disk_free > 0


def test_a_process_on_fast_dds_without_a_profile_is_named() -> None:
    pytest.importorskip('rclpy')
    code = 'import rclpy; rclpy.init(); rclpy.create_node("n"); print("up", flush=True); input()'
    plain = {k: v for k, v in os.environ.items() if not k.endswith('DEFAULT_PROFILES_FILE')}
    plain |= {'ROS_DOMAIN_ID': '91', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    profile = str(paths.share() / 'config' / 'dds' / 'fastdds.xml')
    for more, named in (({}, True), ({'FASTDDS_DEFAULT_PROFILES_FILE': profile}, False)):
        child = subprocess.Popen(
            [sys.executable, '-c', code],
            env=plain | more, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert child.stdout is not None and child.stdout.readline() == 'up\n'
            found = [text for text in unprofiled('91') if f'pid {child.pid})' in text]
            assert bool(found) == named
            assert not [text for text in unprofiled('92') if f'pid {child.pid})' in text]
        finally:
            child.communicate('\n', timeout=30)
