"""A synthetic arm of twice the joints: one robot mounted on the last link of another.

No such arm is sold; it is there to see what joints cost. The pairs between the two halves are not
checked, and there is no floor, so that its rows compare with those of a single arm.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from vla_ros.robot import Capsule, JointLimits, RobotSpec

FIRST, SECOND = 'first_', 'second_'  # before every name of either half


def two_in_a_row(robot: RobotSpec, folder: Path) -> RobotSpec:
    """Write the URDF of two robots in a row into `folder` and return its robot.

    The second base is bolted to the tool frame of the first; the first one's gripper stays, as
    dead weight.
    """
    source = robot.urdf_path
    root = ElementTree.Element('robot', name=f'two_{robot.name}')
    for prefix in (FIRST, SECOND):
        for element in ElementTree.parse(source).getroot():
            if element.tag in ('link', 'joint'):
                root.append(_renamed(element, prefix))
    bolt = ElementTree.SubElement(root, 'joint', name='bolt', type='fixed')
    ElementTree.SubElement(bolt, 'parent', link=FIRST + robot.tool_frame)
    ElementTree.SubElement(bolt, 'child', link=SECOND + robot.base_frame)
    file = folder / f'two_{robot.name}.urdf'
    ElementTree.ElementTree(root).write(file)
    halves = {
        prefix: [replace(c, name=prefix + c.name, link=prefix + c.link) for c in robot.capsules]
        for prefix in (FIRST, SECOND)
    }
    capsules: tuple[Capsule, ...] = (*halves[FIRST], *halves[SECOND])
    limits: tuple[JointLimits, ...] = tuple(
        replace(joint, name=prefix + joint.name)
        for prefix in (FIRST, SECOND)
        for joint in robot.joints
    )
    inside = [
        (prefix + a, prefix + b) for prefix in (FIRST, SECOND) for a, b in robot.ignored_pairs
    ]
    across = [(a.name, b.name) for a in halves[FIRST] for b in halves[SECOND]]
    return replace(
        robot,
        name=f'two_{robot.name}',
        urdf=str(file),
        base_frame=FIRST + robot.base_frame,
        tool_frame=SECOND + robot.tool_frame,
        joints=limits,
        gripper=replace(robot.gripper, joint=SECOND + robot.gripper.joint),
        home=(*robot.home, *robot.home),
        cameras=(),
        capsules=capsules,
        ignored_pairs=(*inside, *across),
        finger_capsules=tuple(SECOND + name for name in robot.finger_capsules),
        floor_height=None,
        floor_exempt=(),
    )


def _renamed(element: ElementTree.Element, prefix: str) -> ElementTree.Element:
    """Prefix the name of a link or joint and every link and joint that it mentions."""
    element.set('name', prefix + element.attrib['name'])
    for child in element.iter():
        for tag, attribute in (('parent', 'link'), ('child', 'link'), ('mimic', 'joint')):
            if child.tag == tag:
                child.set(attribute, prefix + child.attrib[attribute])
    for shape in element.findall('collision'):
        if 'name' in shape.attrib:
            shape.set('name', prefix + shape.attrib['name'])
    return element
