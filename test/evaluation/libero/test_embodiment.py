"""What a policy sees of LIBERO and what LIBERO takes from it, against formulas of its own."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros import config, paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import RobotPolicyMismatch
from vla_ros.evaluation.libero.embodiment import (
    libero_actions,
    libero_robot,
    observation,
    require_libero,
)
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice

ROBOT = libero_robot()
OFT = config.load(paths.find('policies', 'openvla_oft'), PolicySpec)
PICTURE = np.zeros((4, 4, 3), np.uint8)

units = st.floats(-1.0, 1.0)


def axis_angle(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Return 2 acos(w) v / |v|, as robosuite has it: up to 2 pi long."""
    length = math.sqrt(1.0 - w * w)
    return 2.0 * math.acos(w) / length * np.array([x, y, z])


@given(st.tuples(units, units, units, units), st.tuples(units, units, units), st.floats(0, 0.04))
def test_the_state_is_the_pose_as_robosuite_writes_it(quaternion, place, finger):
    length = np.linalg.norm(quaternion)
    assume(length > 0.1)
    turn = np.array(quaternion) / length
    assume(abs(turn[3]) < 0.99)  # robosuite divides by what is nearly 0 there
    expected = axis_angle(*turn)
    pose = replace(OFT.state[0], near=tuple(map(float, expected)))
    spec = replace(OFT, state=(pose, *OFT.state[1:]))
    shown = {
        'scene': PICTURE, 'wrist': PICTURE, 'eef_pos': np.array(place), 'eef_quat': turn,
        'gripper_qpos': np.array([finger, -finger]),
    }  # fmt: skip
    seen = observation(shown, 'go', 0.5)
    state = Codec(ROBOT, ROBOT.urdf_path, spec).state(seen.joints)
    np.testing.assert_allclose(state, [*place, *expected, finger, -finger], atol=1e-6)


def test_what_was_trained_on_libero_goes_through_as_it_is():
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (8, 7))
    found = libero_actions(actions, OFT, ROBOT)
    np.testing.assert_allclose(found[:, :6], actions[:, :6], atol=1e-12)
    np.testing.assert_allclose(found[:, 6], 1.0 - 2.0 * actions[:, 6])


@pytest.mark.parametrize('closed, opened', [(1.0, -1.0), (-1.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_a_gripper_opens_at_minus_1_whatever_the_policy_calls_it(closed, opened):
    grip = ActionSlice('gripper', 'range', closed=closed, open=opened, binary=True)
    spec = replace(OFT, action=(grip, OFT.action[0]))  # the order of the slices is the policy's
    actions = np.zeros((2, 7))
    actions[:, 0] = opened, closed
    np.testing.assert_allclose(libero_actions(actions, spec, ROBOT)[:, 6], [-1.0, 1.0])


@given(st.tuples(units, units, units))
def test_units_and_rotations_are_those_of_the_policy_file(angles):
    part = ActionSlice(
        'tool_delta', 'm_rad', rotation='euler_xyz', frame='base', relative_to='previous',
        scale=0.001, rotation_scale=math.radians(1.0),
    )  # fmt: skip
    spec = replace(OFT, action=(part, OFT.action[1]))
    found = libero_actions(np.array([[25.0, -50.0, 0.0, *angles, 1.0]]), spec, ROBOT)[0]
    np.testing.assert_allclose(found[:3], [0.5, -1.0, 0.0])
    turn = np.eye(3)
    for axis, angle in zip(np.eye(3), np.radians(angles)):  # fixed axes: the later goes in front
        turn = Rotation.from_rotvec(angle * axis).as_matrix() @ turn
    given_turn = Rotation.from_rotvec(0.5 * found[3:6]).as_matrix()
    np.testing.assert_allclose(given_turn, turn, atol=1e-9)


def tool(frame: str, reference: str) -> ActionSlice:
    return replace(OFT.action[0], frame=frame, relative_to=reference)


@pytest.mark.parametrize(
    'spec, word',
    [
        (replace(OFT, step=0.1), 'step'),
        (replace(OFT, images=(ImageSpec('side', 224),)), 'side'),
        (replace(OFT, state=(StateSlice('joint_position', 'rad'),)), 'joint_position'),
        (replace(OFT, action=(OFT.action[0],)), 'gripper'),
        (replace(OFT, action=(tool('tool', 'previous'), OFT.action[1])), 'frame tool'),
        (replace(OFT, action=(tool('base', 'observation'), OFT.action[1])), 'observation'),
        (
            replace(OFT, action=(OFT.action[0], ActionSlice(
                'gripper', 'open_fraction', relative_to='previous'))),
            'absolute',
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(spec, word):
    require_libero(OFT)
    with pytest.raises(RobotPolicyMismatch, match=word):
        require_libero(spec)
