"""Whether a policy fits a robot: told before anything is loaded and before the arm has power."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.action_space import ACTION_KINDS, Slice
from vla_ros.errors import RobotPolicyMismatch, VlaError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import Arm, RobotSpec
from vla_ros.rotation import ANGLES, from_quaternions
from vla_ros.spec import ActionSlice, arms_of, PolicySpec, width
from vla_ros.statistics import Bounds, MeanStd, Statistics
from vla_ros.types import Array

NEAR, TURN = 0.02, 0.1  # [m], [rad] by which a tool must be able to move from home
JUMP = 1e-3  # [rad] a turn that must not change the numbers of a pose by much
BEYOND = 0.1  # share of a gripper's range by which its statistics may leave it


def check(robot: RobotSpec, policy: PolicySpec) -> list[str]:
    """Return what of a policy does not fit a robot, each with its cure; empty if it fits."""
    found = [*_pictures(robot, policy), *_timing(policy)]
    astray = list(_astray(robot, policy))
    if astray:  # nothing else can be told of slices that belong nowhere
        return [*found, *astray]
    return [*found, *_slices(robot, policy), *_home(robot, policy)]


def require_fit(robot: RobotSpec, policy: PolicySpec) -> None:
    """Raise RobotPolicyMismatch with every finding of `check`, if there is one."""
    findings = check(robot, policy)
    if findings:
        raise RobotPolicyMismatch('\n'.join(findings))


def check_rates(robot: RobotSpec, policy: PolicySpec, period: float) -> list[str]:
    """Return which rates of a policy do not fit the robot's cameras and the safety filter.

    Args:
        robot: Whose cameras count.
        policy: Whose steps count.
        period: Of the safety filter [s].
    """
    findings = []
    if policy.step < period:
        findings.append(
            f'policy {policy.name} has a step of {policy.step} s, the safety filter a period of '
            f'{period} s: steps in between would be skipped; choose a faster safety setting.'
        )
    rates = {camera.name: camera.rate for camera in robot.cameras}
    slowest = min((rates.get(image.camera, np.inf) for image in policy.images), default=np.inf)
    whole = policy.horizon * policy.step
    if whole < 1.0 / slowest:
        findings.append(
            f'a chunk of policy {policy.name} lasts {whole:.3f} s and is over before the next '
            f'picture at {slowest} Hz: raise the rate of the camera.'
        )
    return findings


def check_statistics(
    robot: RobotSpec, policy: PolicySpec, state: Statistics, action: Statistics
) -> list[str]:
    """Return what of a checkpoint's statistics contradicts the policy file."""
    findings = []
    table: tuple[tuple[str, tuple[Slice, ...], Statistics], ...] = (
        ('state', policy.state, state), ('action', policy.action, action),
    )  # fmt: skip
    for word, parts, stats in table:
        declared = width(parts, robot)
        if declared != stats.width:
            kinds = ', '.join(f'{part.kind} {width((part,), robot)}' for part in parts)
            findings.append(
                f'policy {policy.name}: the {word} has {declared} dimensions ({kinds}), the '
                f"checkpoint's statistics have {stats.width}: declare the slices that it was "
                'trained with.'
            )
            continue
        column = 0
        for part in parts:
            found = _beside(stats, column, *part.ends) if _is_opening(part) else ''
            column += width((part,), robot)
            if found:
                findings.append(
                    f"policy {policy.name}: the {word}'s gripper {found} in the checkpoint's "
                    f'statistics, but is declared closed at {part.ends[0]:g} and open at '
                    f"{part.ends[1]:g}: declare unit 'range' with the values of the data set."
                )
    return findings


def notes(robot: RobotSpec, policy: PolicySpec, action: Statistics | None = None) -> list[str]:
    """Return what will slow the arm or keep it from something, although the policy fits.

    Args:
        robot: Whose joint speeds count.
        policy: Of which `check` finds nothing.
        action: Statistics of the checkpoint; None: actions of 1 are taken for the largest of a
            slice that declares a scale.
    """
    found = []
    for arm in robot.arms:
        mine = [part.kind for part in policy.action if arm in arms_of(part, robot)]
        which = f' of arm {arm.name}' if arm.name else ''
        if arm.gripper and 'gripper' not in mine:
            found.append(
                f'policy {policy.name} has no gripper slice{which}: the gripper stays as it is.'
            )
        if all(kind == 'gripper' for kind in mine):
            found.append(f'policy {policy.name} does not move arm {arm.name}: it stays.')
    found += _jumps(robot, policy)
    if action is not None:
        largest = list(_extents(robot, policy.action, action))
    else:
        largest = [(p, np.ones(width((p,), robot))) for p in policy.action if p.scale != 1.0]
    for part, extent in largest:
        if part.kind == 'gripper':
            continue
        arms = arms_of(part, robot)
        asked = _joint_speeds(robot, arms, part, extent, policy.step)
        share = asked / np.concatenate([arm.limits('velocity') for arm in arms])
        worst = int(np.argmax(share))
        if share[worst] > 1.0:
            joint = [name for arm in arms for name in arm.joint_names][worst]
            found.append(
                f'policy {policy.name}: the largest {part.kind} asks {joint} '
                f'at home for {asked[worst]:.2f} rad/s, {share[worst]:.1f} times its limit: the '
                'safety filter will slow it; see that scale and step are those of the training.'
            )
    return found


def _pictures(robot: RobotSpec, policy: PolicySpec) -> Iterator[str]:
    cameras = {camera.name: camera for camera in robot.cameras}
    for image in policy.images:
        camera = cameras.get(image.camera)
        if camera is None:
            yield (
                f"policy {policy.name} needs camera '{image.camera}'; robot {robot.name} has "
                f'{", ".join(sorted(cameras)) or "none"}: add it to the robot file.'
            )
        elif max(camera.width, camera.height) < image.size:  # bars fill the shorter side
            yield (
                f"camera '{image.camera}' gives {camera.width}x{camera.height}, policy "
                f'{policy.name} wants {image.size} px squares: raise its resolution.'
            )


def _astray(robot: RobotSpec, policy: PolicySpec) -> Iterator[str]:
    """Tell which slices belong to no arm of the robot, or do not say to which."""
    for part in (*policy.state, *policy.action):
        try:
            arms_of(part, robot)
        except VlaError as error:
            yield f'policy {policy.name}: {error}'


def _slices(robot: RobotSpec, policy: PolicySpec) -> Iterator[str]:
    if not policy.action:
        yield f'policy {policy.name} declares no action: add its slices.'
    found = {
        arm.name: [part.kind for part in policy.action if arm in arms_of(part, robot)]
        for arm in robot.arms
    }
    still = all(kind == 'gripper' for kinds in found.values() for kind in kinds)
    for name, kinds in found.items():
        which = f' {name}' if name else ''
        for kind in sorted({k for k in kinds if kinds.count(k) > 1}):
            what = f'{kind} of arm{which}' if name else kind
            yield f'policy {policy.name} declares {what} more than once: keep one slice.'
        moves = [kind for kind in kinds if kind != 'gripper']
        if len(moves) > 1 or still:  # an arm of several may stay where it is
            movers = ', '.join(kind for kind in ACTION_KINDS if kind != 'gripper')
            yield (
                f'policy {policy.name} must move the arm{which} by exactly one of {movers}, found '
                f'{", ".join(moves) or "none"}.'
            )


def _timing(policy: PolicySpec) -> Iterator[str]:
    if policy.horizon == 1 and policy.strategy != 'synchronous':
        yield (
            f'policy {policy.name} has a horizon of 1, which leaves no step to walk while the '
            "next is inferred: choose strategy 'synchronous'."
        )


def _home(robot: RobotSpec, policy: PolicySpec) -> Iterator[str]:
    """Tell whether home is inside the limits and, for tool actions, what IK reaches around it."""
    for joint, q in zip(robot.joints, robot.home):
        if not joint.lower <= q <= joint.upper:
            yield (
                f'robot {robot.name}: home has {joint.name} at {q} rad, outside of its limits '
                f'{joint.lower} to {joint.upper}: correct the robot file.'
            )
            return
    for arm in robot.arms:
        try:
            kinematics = _kinematics(robot, arm)
        except VlaError as error:
            yield f'robot {robot.name}: {error}'
            continue
        for part in policy.action:
            if part.absolute_kind.startswith('tool') and arm in arms_of(part, robot):
                yield from _reach(robot, arm, kinematics, policy, part)


def _reach(
    robot: RobotSpec, arm: Arm, kinematics: Kinematics, policy: PolicySpec, part: ActionSlice
) -> Iterator[str]:
    """Tell what of its surroundings a tool cannot reach from home."""
    home = np.array(arm.home)
    ik = InverseKinematics(
        kinematics,
        lower=arm.limits('lower'),
        upper=arm.limits('upper'),
        posture=home,
        tolerance=1e-4,
    )
    r, p = kinematics.fk(home)
    lost = []
    for way, name in zip(np.vstack([np.eye(3), -np.eye(3)]), ('+x', '+y', '+z', '-x', '-y', '-z')):
        if not ik.solve(home, r, p + NEAR * way).converged:
            lost.append(f'move {NEAR} m along {name}')
        turned = Rotation.from_rotvec(TURN * way).as_matrix() @ r
        if part.turns and not ik.solve(home, turned, p).converged:
            lost.append(f'turn {TURN} rad about {name}')
    if lost:
        tool = f'tool {arm.tool_frame}' if arm.name else 'its tool'
        yield (
            f'robot {robot.name}: from home {tool} cannot {", ".join(lost)}, which {part.kind} '
            f'of policy {policy.name} needs: choose a home farther from limits and '
            'singularities, or a policy in joint space.'
        )


def _jumps(robot: RobotSpec, policy: PolicySpec) -> Iterator[str]:
    """Tell which angles or quaternions jump when the tool turns a little about its home pose."""
    for part in (*policy.state, *policy.action):
        if part.kind == 'tool_pose' and part.rotation is not None:
            (arm,) = arms_of(part, robot)
            home = Rotation.from_matrix(_kinematics(robot, arm).fk(np.array(arm.home))[0])
            around = Rotation.from_rotvec(JUMP * np.vstack([np.eye(3), -np.eye(3)])) * home
            numbers = from_quaternions(around.as_quat(), part.rotation, part.near)
            if np.ptp(numbers, axis=0).max() > 1.0:
                yield (
                    f'policy {policy.name}: its {part.word} writes the orientation of home in '
                    f'{part.rotation}, which jumps there: declare near, such as the mean of the '
                    'training data, so that one of the two is meant.'
                )


def _joint_speeds(
    robot: RobotSpec, arms: tuple[Arm, ...], part: ActionSlice, extent: Array, step: float
) -> Array:
    """Return the speeds [rad/s] at home of the joints of its arms for the largest action (W,)."""
    if part.kind == 'joint_velocity':
        return part.scale * extent
    if not part.chained:
        return np.zeros(sum(arm.dof for arm in arms))
    if part.kind == 'joint_delta':
        return part.scale * extent / step
    twist = np.zeros(6)
    twist[:3] = part.scale * extent[:3] / step
    if part.rotation in ANGLES:
        twist[3:] = part.rotation_scale * extent[3:] / step
    (arm,) = arms
    inverse = np.linalg.pinv(_kinematics(robot, arm).jacobian(np.array(arm.home)))
    return np.asarray(abs(inverse * twist).max(axis=1))  # one direction at a time


def _extents(
    robot: RobotSpec, parts: tuple[ActionSlice, ...], stats: Statistics
) -> Iterator[tuple[ActionSlice, Array]]:
    """Yield the largest usual size (W,) of every slice; two deviations off a mean."""
    if isinstance(stats, Bounds):
        size = np.maximum(abs(stats.low), abs(stats.high))
    elif isinstance(stats, MeanStd):
        size = abs(stats.mean) + 2.0 * stats.std
    else:
        return
    largest, first = size.reshape(-1, stats.width).max(axis=0), 0
    for part in parts:
        last = first + width((part,), robot)
        yield part, largest[first:last]
        first = last


def _is_opening(part: Slice) -> bool:
    return part.kind == 'gripper' and getattr(part, 'relative_to', 'absolute') == 'absolute'


def _beside(stats: Statistics, column: int, closed: float, opened: float) -> str:
    """Return what statistics say of a gripper that its range contradicts; '' if nothing.

    What lies between a and b has a variance of at most (b - mean) (mean - a) (Bhatia and Davis
    2000, A better bound on the variance).
    """
    slack = BEYOND * abs(opened - closed)
    a, b = min(closed, opened) - slack, max(closed, opened) + slack
    if isinstance(stats, Bounds):
        low, high = stats.low[..., column].min(), stats.high[..., column].max()
        return '' if a <= low and high <= b else f'runs from {low:.3g} to {high:.3g}'
    if isinstance(stats, MeanStd):
        mean, std = np.ravel(stats.mean[..., column]), np.ravel(stats.std[..., column])
        room = (b - mean) * (mean - a) - std**2  # below 0 too where the mean is outside
        k = int(np.argmin(room))
        return '' if room[k] >= 0.0 else f'has mean {mean[k]:.3g} and deviation {std[k]:.3g}'
    return ''


def _kinematics(robot: RobotSpec, arm: Arm) -> Kinematics:
    return Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)
