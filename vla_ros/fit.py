"""Whether a policy fits a robot: told before anything is loaded and before the arm has power."""

from __future__ import annotations

from vla_ros.action_space import ACTION_KINDS
from vla_ros.errors import RobotPolicyMismatch
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec


def check(robot: RobotSpec, policy: PolicySpec) -> list[str]:
    """Return what of a policy does not fit a robot, each with its cure; empty if it fits."""
    findings = []
    cameras = {camera.name: camera for camera in robot.cameras}
    for image in policy.images:
        camera = cameras.get(image.camera)
        if camera is None:
            findings.append(
                f"policy {policy.name} needs camera '{image.camera}'; robot {robot.name} has "
                f'{", ".join(sorted(cameras)) or "none"}: add it to the robot file.'
            )
        elif min(camera.width, camera.height) < image.size:
            findings.append(
                f"camera '{image.camera}' gives {camera.width}x{camera.height}, policy "
                f'{policy.name} wants {image.size} px squares: raise its resolution.'
            )
    if not policy.action:
        findings.append(f'policy {policy.name} declares no action: add its slices.')
    kinds = [s.kind for s in policy.action]
    for kind in sorted({k for k in kinds if kinds.count(k) > 1}):
        findings.append(f'policy {policy.name} declares {kind} more than once: keep one slice.')
    moves = [kind for kind in kinds if kind != 'gripper']
    if len(moves) != 1:
        movers = ', '.join(kind for kind in ACTION_KINDS if kind != 'gripper')
        findings.append(
            f'policy {policy.name} must move the arm by exactly one of {movers}, found '
            f'{moves or "none"}.'
        )
    return findings


def require_fit(robot: RobotSpec, policy: PolicySpec) -> None:
    """Raise RobotPolicyMismatch with every finding of `check`, if there is one."""
    findings = check(robot, policy)
    if findings:
        raise RobotPolicyMismatch('\n'.join(findings))
