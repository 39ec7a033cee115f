"""The fit of a policy to a robot."""

from __future__ import annotations

from dataclasses import replace
import re

import pytest

from vla_ros import config, paths
from vla_ros.errors import RobotPolicyMismatch, VlaError
from vla_ros.fit import check, require_fit
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec

ROBOT = load_robot(paths.find('robots', 'panda'))
SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
JOINTS = ActionSlice('joint_position', 'rad')
TOOL = ActionSlice('tool_position', 'm')
GRIPPER = ActionSlice('gripper', 'open_fraction')


@pytest.mark.parametrize(
    ('change', 'finding'),
    [
        ({'images': (ImageSpec('ceiling', 96),)}, "needs camera 'ceiling'.*scene, wrist"),
        ({'images': (ImageSpec('wrist', 481),)}, 'gives 640x480.*481 px'),
        ({'action': ()}, 'declares no action'),
        ({'action': (GRIPPER,)}, 'exactly one of'),
        ({'action': (TOOL, JOINTS)}, 'exactly one of'),
        ({'action': (TOOL, TOOL, GRIPPER)}, 'tool_position'),
        ({'action': (TOOL, GRIPPER, GRIPPER)}, 'gripper'),
    ],
)
def test_what_does_not_fit_is_found_with_its_cure(change, finding):
    spec = replace(SPEC, **change)
    assert any(re.search(finding, text) for text in check(ROBOT, spec))
    with pytest.raises(RobotPolicyMismatch, match=finding):
        require_fit(ROBOT, spec)


def test_every_misfit_is_told_at_once():
    spec = replace(SPEC, images=(ImageSpec('a', 96), ImageSpec('b', 96)), action=())
    assert len(check(ROBOT, spec)) >= 3
    assert issubclass(RobotPolicyMismatch, VlaError)


@pytest.mark.parametrize('action', [(TOOL,), (JOINTS,), (GRIPPER, JOINTS), (TOOL, GRIPPER)])
def test_what_fits_has_no_finding(action):
    spec = replace(SPEC, images=(ImageSpec('scene', 480),), action=action)
    assert check(ROBOT, spec) == []
    require_fit(ROBOT, spec)
