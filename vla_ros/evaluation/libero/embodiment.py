"""LIBERO's arm as our policies see it: a tool and a gripper in LIBERO's world.

LIBERO's policies see the tool's pose in the world and move it; where the arm stands differs from
scene to scene, and nothing about its joints is said. So the robot file of LIBERO is a hand on six
joints that are its pose: x, y, z [m] and the angles about x, y, z, each about the turned axis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros import paths
from vla_ros.errors import RobotPolicyMismatch
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.rotation import to_quaternions
from vla_ros.spec import PolicySpec, width
from vla_ros.types import Array, Frame, JointState, Observation

STEP = 0.05  # [s] LIBERO runs at 20 Hz
REACH, TURN = 0.05, 0.5  # [m], [rad] that an action of 1 means: robosuite's OSC_POSE
OPENING = 0.04  # [m] of a finger that is open
STATES = ('tool_pose', 'tool_position', 'gripper')


def libero_robot() -> RobotSpec:
    """Return the robot file of LIBERO."""
    return load_robot(paths.share() / 'config' / 'libero' / 'robot.yaml')


def require_libero(spec: PolicySpec) -> None:
    """Check that a policy sees and says what LIBERO shows and takes.

    Raises:
        RobotPolicyMismatch: It does not; the message says which part of the policy file.
    """
    what = f'policy {spec.name} does not fit LIBERO: '
    if abs(spec.step - STEP) > 1e-6:
        raise RobotPolicyMismatch(f'{what}its step is {spec.step} s, expected {STEP} s.')
    cameras = {image.camera for image in spec.images} - {'scene', 'wrist'}
    if cameras:
        raise RobotPolicyMismatch(f'{what}it sees {sorted(cameras)}, expected scene and wrist.')
    states = {part.kind for part in spec.state} - set(STATES)
    if states:
        raise RobotPolicyMismatch(f'{what}its state has {sorted(states)}, expected {STATES}.')
    kinds = [part.kind for part in spec.action]
    if sorted(kinds) != ['gripper', 'tool_delta']:
        raise RobotPolicyMismatch(f'{what}its action is {kinds}, expected tool_delta and gripper.')
    for part in spec.action:
        if part.kind == 'tool_delta' and (part.frame, part.relative_to) != ('base', 'previous'):
            raise RobotPolicyMismatch(
                f'{what}its tool_delta is relative_to {part.relative_to} in frame {part.frame}, '
                'expected previous and base.'
            )
        if part.kind == 'gripper' and part.relative_to != 'absolute':
            raise RobotPolicyMismatch(f'{what}its gripper is relative, expected absolute.')


def observation(shown: Mapping[str, np.ndarray], sentence: str, time: float) -> Observation:
    """Return what a policy sees.

    Args:
        shown: Pictures scene and wrist (H, W, 3); eef_pos (3,) [m], eef_quat (4,) xyzw,
            gripper_qpos (2,) [m] of both fingers, mirrored. The mean of the fingers is told.
        sentence: The task.
        time: Since the start [s].
    """
    angles = Rotation.from_quat(shown['eef_quat']).as_euler('XYZ')
    left, right = shown['gripper_qpos']
    position = np.array([*shown['eef_pos'], *angles, 0.5 * (left - right)])
    joints = JointState(time, position, np.zeros(len(position)))
    frames = {name: Frame(time, shown[name]) for name in ('scene', 'wrist')}
    return Observation(time, frames, joints, sentence)


def libero_actions(actions: Array, spec: PolicySpec, robot: RobotSpec) -> Array:
    """Return what LIBERO takes (T, 7): d / 0.05 m, rotation vector / 0.5 rad, 1 - 2 opening.

    Args:
        actions: (T, A) as the policy file declares them.
        spec: A policy that passed `require_libero`.
        robot: `libero_robot()`.
    """
    found = np.empty((len(actions), 7))
    first = 0
    for part in spec.action:
        size = width((part,), robot)
        values = actions[:, first : first + size]
        first += size
        if part.kind == 'gripper':
            closed, opened = part.ends
            found[:, 6] = 1.0 - 2.0 * (values[:, 0] - closed) / (opened - closed)
            continue
        assert part.rotation is not None
        found[:, :3] = values[:, :3] * part.scale / REACH
        turns = part.rotation_scale * values[:, 3:]
        if part.rotation != 'axis_angle':
            turns = Rotation.from_quat(to_quaternions(turns, part.rotation)).as_rotvec()
        found[:, 3:6] = turns / TURN
    return found
