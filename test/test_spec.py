"""PolicySpec and the fit of a policy to a robot."""

from __future__ import annotations

from dataclasses import replace
import re

import pytest

from vla_ros import config, paths
from vla_ros.errors import (
    ConfigError,
    RobotPolicyMismatch,
    UnknownNameError,
    VlaError,
)
from vla_ros.robot import load_robot
from vla_ros.spec import (
    ActionSlice,
    ALIGNMENTS,
    check,
    ImageSpec,
    PolicySpec,
    require_fit,
    StateSlice,
    width,
)

ROBOT = load_robot(paths.find('robots', 'panda'))
SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)


def test_units_are_declared_and_never_guessed():
    with pytest.raises(ConfigError, match="'tool_position' is in 'mm', expected 'm'"):
        ActionSlice('tool_position', 'mm')
    with pytest.raises(ConfigError, match="'joint_position' is in 'deg', expected 'rad'"):
        StateSlice('joint_position', 'deg')


def test_unknown_kinds_name_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'joint_position'"):
        ActionSlice('joint_positions', 'rad')
    with pytest.raises(UnknownNameError, match="Did you mean 'gripper'"):
        StateSlice('griper', 'open_fraction')
    with pytest.raises(UnknownNameError, match="Did you mean 'observation'"):
        ActionSlice('gripper', 'open_fraction', 'observations')


@pytest.mark.parametrize(
    'change',
    [{'replan_steps': 0}, {'replan_steps': 13}, {'step': 0.0}, {'step': float('nan')}],
)
def test_a_chunk_that_cannot_run_is_refused(change):
    with pytest.raises(ConfigError, match='policy tiny_pi0'):
        replace(SPEC, **change)


@pytest.mark.parametrize('dof', [6, 7])
def test_width_counts_every_slice(dof):
    joints = StateSlice('joint_position', 'rad')
    assert width(SPEC.action, dof) == 4
    assert width((joints, StateSlice('gripper', 'open_fraction')), dof) == dof + 1
    assert width((), dof) == 0


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


@pytest.mark.parametrize('word', ALIGNMENTS)
def test_alignments_that_are_known(word):
    assert replace(SPEC, alignment=word, alignment_tolerance=0.0).alignment == word


def test_an_unknown_alignment_names_the_closest():
    with pytest.raises(UnknownNameError, match="policy tiny_pi0.*Did you mean 'nearest'"):
        replace(SPEC, alignment='nearst')


@pytest.mark.parametrize('tolerance', [-0.001, float('nan'), float('inf')])
def test_an_alignment_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ConfigError, match='alignment_tolerance is .* expected 0 or more'):
        replace(SPEC, alignment_tolerance=tolerance)
