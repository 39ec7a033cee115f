"""Nodes and ROS layer on Jazzy's wheels, in an environment that is made when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = r'ros-|torch|transformers|ruff|mypy|coal|pyarrow'  # of direct.txt: not needed here
TESTS = (
    'test/ros', 'test/nodes/test_safety_filter_node.py', 'test/nodes/test_forwarder_node.py',
    'test/nodes/test_markers_node.py', 'test/nodes/test_simulators.py',
)  # fmt: skip

sys.path.insert(0, str(ROOT / 'tools' / 'setup'))


@pytest.mark.timeout(2400)
def test_the_nodes_run_on_jazzy(environment, tmp_path):
    """Their tests pass there, with the interface packages built by its generators."""
    from interfaces import build_interfaces

    others = [
        line.split('#')[0].strip()
        for line in (ROOT / 'requirements/direct.txt').read_text().splitlines()
        if line and not line.startswith('#') and not re.match(WITHOUT, line)
    ]
    ros = ['--requirement', str(ROOT / 'requirements/jazzy.txt')]
    asked = ('VLA_ROS_JAZZY', 'run the nodes on Jazzy, which takes minutes and 900 MB')
    python = environment('jazzy-7.1.6', [*ros, *others], 1200, asked)
    venv = Path(python).parents[1]
    if not (venv / 'share/control_msgs/package.xml').exists():
        build_interfaces(
            venv, tmp_path,
            lambda argv, env: subprocess.run(argv, env=env, check=True, timeout=600),
        )  # fmt: skip
    names = ('HOME', 'PATH', 'LANG', 'XDG_CACHE_HOME')
    kept = {name: os.environ[name] for name in names if name in os.environ}
    answer = subprocess.run(
        [python, '-m', 'pytest', '-p', 'no:cacheprovider', *TESTS],
        cwd=ROOT, timeout=1200, capture_output=True, text=True, check=False,
        env={**kept, 'PYTHONPATH': str(ROOT), 'ROS_DISTRO': 'jazzy'},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-4000:]
