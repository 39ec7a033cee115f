"""A synthetic arm of twice the joints: one robot mounted on the last link of another.

No such arm is sold; it is there to see what joints cost. The pairs between the two halves are not
checked, and there is no floor, so that its rows compare with those of a single arm.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vla_ros.robot import Capsule, JointLimits, RobotSpec
from vla_ros.urdf import Bolted, compose

FIRST, SECOND = 'first_', 'second_'  # before every name of either half


def two_in_a_row(robot: RobotSpec, folder: Path) -> RobotSpec:
    """Write the URDF of two robots in a row into `folder` and return its robot.

    The second base is bolted to the tool frame of the first; the first one's gripper stays, as
    dead weight.
    """
    arm, source = robot.arm(), robot.urdf_path
    parts = (
        Bolted(source, FIRST, robot.base_frame, 'base'),
        Bolted(source, SECOND, robot.base_frame, FIRST + arm.tool_frame),
    )
    file = folder / f'two_{robot.name}.urdf'
    file.write_bytes(compose(f'two_{robot.name}', parts, 'base'))
    halves = {
        prefix: [replace(c, name=prefix + c.name, link=prefix + c.link) for c in robot.capsules]
        for prefix in (FIRST, SECOND)
    }
    capsules: tuple[Capsule, ...] = (*halves[FIRST], *halves[SECOND])
    limits: tuple[JointLimits, ...] = tuple(
        replace(joint, name=prefix + joint.name)
        for prefix in (FIRST, SECOND)
        for joint in arm.joints
    )
    inside = [
        (prefix + a, prefix + b) for prefix in (FIRST, SECOND) for a, b in robot.ignored_pairs
    ]
    across = [(a.name, b.name) for a in halves[FIRST] for b in halves[SECOND]]
    return replace(
        robot,
        name=f'two_{robot.name}',
        urdf=str(file),
        base_frame='base',
        arms=(
            replace(
                arm,
                tool_frame=SECOND + arm.tool_frame,
                joints=limits,
                gripper=arm.gripper and replace(arm.gripper, joint=SECOND + arm.gripper.joint),
                home=(*arm.home, *arm.home),
            ),
        ),
        cameras=(),
        capsules=capsules,
        ignored_pairs=(*inside, *across),
        finger_capsules=tuple(SECOND + name for name in robot.finger_capsules),
        floor_height=None,
        floor_exempt=(),
    )
