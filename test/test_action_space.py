"""Slices of actions and states: what they declare, and what is refused for want of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vla_ros import config
from vla_ros.action_space import ACTION_KINDS, ActionSlice, STATE_KINDS, StateSlice
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.rotation import WIDTHS

TOOL = ActionSlice('tool_position', 'm')
GRIPPER = ActionSlice('gripper', 'open_fraction')
DELTA = ActionSlice(
    'tool_delta', 'm_rad', 'previous', rotation='euler_xyz', frame='base', scale=0.05,
    rotation_scale=0.5,
)  # fmt: skip


def test_units_are_declared_and_never_guessed():
    with pytest.raises(ConfigError, match="'tool_position' is in 'mm', expected 'm'"):
        ActionSlice('tool_position', 'mm')
    with pytest.raises(ConfigError, match="'joint_position' is in 'deg', expected 'rad'"):
        StateSlice('joint_position', 'deg')
    with pytest.raises(ConfigError, match='scale is 0.0, expected a number above 0'):
        StateSlice('joint_position', 'rad', scale=0.0)
    with pytest.raises(ConfigError, match="'gripper' has scale 2.0; only joints and positions"):
        StateSlice('gripper', 'open_fraction', scale=2.0)


def test_unknown_kinds_name_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'joint_position'"):
        ActionSlice('joint_positions', 'rad')
    with pytest.raises(UnknownNameError, match="Did you mean 'gripper'"):
        StateSlice('griper', 'open_fraction')
    with pytest.raises(UnknownNameError, match="Did you mean 'observation'"):
        ActionSlice('gripper', 'open_fraction', 'observations')


@pytest.mark.parametrize('rotation', WIDTHS)
def test_width_counts_the_rotation(rotation):
    unit = 'm_rad' if WIDTHS[rotation] == 3 else 'm'
    pose = ActionSlice('tool_pose', unit, rotation=rotation)
    delta = ActionSlice('tool_delta', unit, 'observation', rotation=rotation, frame='tool')
    for part in (pose, delta, StateSlice('tool_pose', unit, rotation=rotation)):
        assert part.width(7) == 3 + WIDTHS[rotation]
    other = {'m': 'm_rad', 'm_rad': 'm'}[unit]
    with pytest.raises(ConfigError, match=f"is in '{other}', expected '{unit}'"):
        replace(pose, unit=other)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'rotation': None}, 'declares no rotation'),
        ({'rotation': 'quaternion'}, "Did you mean 'quaternion_.*'"),
        ({'rotation': 'euler_xxy'}, "unknown rotation 'euler_xxy'"),
        ({'frame': None}, "declares no frame, expected 'base' or 'tool'"),
        ({'frame': 'tol'}, "Did you mean 'tool'"),
        ({'relative_to': 'absolute'}, "expected 'observation' or 'previous'"),
        ({'scale': 0.0}, 'scale is 0.0'),
        ({'scale': float('nan')}, 'scale is nan'),
        ({'rotation_scale': float('inf')}, 'rotation_scale is inf'),
        ({'rotation': 'rotation_6d', 'unit': 'm'}, 'no angles'),
        ({'closed': 0.0, 'open': 1.0}, "go with 'range' only"),
        ({'binary': True}, 'only a gripper'),
    ],
)
def test_a_tool_delta_says_everything_that_it_needs(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(DELTA, **change)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (('tool_position', 'm', 'absolute', False, 'base'), 'no frame to choose'),
        (('joint_position', 'rad', 'previous'), "expected 'absolute' or 'observation'"),
        (('joint_velocity', 'rad/s', 'previous'), "expected 'absolute'"),
        (('joint_velocity', 'rad'), "expected 'rad/s'"),
        (('joint_delta', 'rad'), "relative_to 'absolute', expected 'observation' or 'previous'"),
        (('gripper', 'open_fraction', 'absolute', False, None, 2.0), "unit 'range' instead"),
        (('gripper', 'range'), 'closed None and open None'),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        ActionSlice(*values)


def test_near_names_one_of_the_numbers_of_a_pose():
    pose = ActionSlice('tool_pose', 'm_rad', rotation='axis_angle', near=(3.1, 0.0, 0.0))
    for change, message in (
        ({'near': (3.1, 0.0)}, r'near is \(3.1, 0.0\), expected 3 numbers'),
        ({'near': (3.1, 0.0, float('nan'))}, 'expected 3 numbers'),
        ({'rotation': 'rotation_6d', 'unit': 'm'}, 'in angles or quaternions'),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(pose, **change)
    with pytest.raises(ConfigError, match='near goes with a tool_pose'):
        replace(DELTA, near=(0.0, 0.0, 0.0))
    data = {'kind': 'tool_pose', 'unit': 'm_rad', 'rotation': 'axis_angle', 'near': [3.1, 0, 0]}
    assert config.build(ActionSlice, data, 'some.yaml') == pose
    assert config.build(StateSlice, data, 'some.yaml').near == pose.near


@pytest.mark.parametrize('ends', [(1.0, 1.0), (None, 1.0), (0.0, None), (0.0, float('nan'))])
def test_a_gripper_range_has_two_different_ends(ends):
    with pytest.raises(ConfigError, match="in 'range' has closed"):
        ActionSlice('gripper', 'range', closed=ends[0], open=ends[1])
    with pytest.raises(ConfigError, match="in 'range' has closed"):
        StateSlice('gripper', 'range', closed=ends[0], open=ends[1])


def test_slices_are_read_from_a_policy_file():
    data = {
        'kind': 'tool_delta', 'unit': 'm_rad', 'rotation': 'euler_xyz', 'frame': 'base',
        'relative_to': 'previous', 'scale': 0.05, 'rotation_scale': 0.5,
    }  # fmt: skip
    assert config.build(ActionSlice, data, 'some.yaml') == DELTA
    with pytest.raises(UnknownNameError, match="Did you mean 'rotation'"):
        config.build(ActionSlice, {**data, 'rotatoin': 'matrix'}, 'some.yaml')
    gripper = {'kind': 'gripper', 'unit': 'range', 'closed': 1, 'open': -1}
    assert config.build(ActionSlice, gripper, 'some.yaml').ends == (1.0, -1.0)
    assert config.build(StateSlice, gripper, 'some.yaml').ends == (1.0, -1.0)
    assert GRIPPER.ends == (0.0, 1.0)


def test_every_kind_has_an_absolute_one_that_the_state_tells():
    for kind in ACTION_KINDS.values():
        assert ACTION_KINDS[kind.absolute].absolute == kind.absolute
        assert 'absolute' in ACTION_KINDS[kind.absolute].references
        assert kind.absolute in STATE_KINDS
