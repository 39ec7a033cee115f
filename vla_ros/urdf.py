"""URDFs as they are written: several robots in one, each under a prefix; which joints turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, hypot
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from vla_ros.errors import ConfigError
from vla_ros.types import Array, Quaternion, Vector3

NAMES = {  # of each element the attribute that names a link, a joint or a material
    'parent': 'link',
    'child': 'link',
    'mimic': 'joint',
    'material': 'name',
    'visual': 'name',
    'collision': 'name',
    'link': 'name',
    'joint': 'name',
}
KEPT = ('material', 'link', 'joint')  # what a controller or a simulator adds is not


@dataclass(frozen=True)
class Bolted:
    """One robot of several, and where its root link is."""

    urdf: Path
    prefix: str  # before every name of a link, a joint, a shape or a material
    root: str  # its root link, without the prefix
    parent: str  # link of the whole that it is bolted to
    position: Vector3 = (0.0, 0.0, 0.0)  # [m] in that link
    orientation: Quaternion = (0.0, 0.0, 0.0, 1.0)


def compose(name: str, parts: Sequence[Bolted], root: str) -> bytes:
    """Return the URDF of several robots in one; the same parts give the same bytes.

    Args:
        name: Of the whole.
        parts: The robots.
        root: A link without a body, on which they stand.

    Raises:
        ConfigError: A part cannot be read.
    """
    whole = ElementTree.Element('robot', name=name)
    readers: dict[str, ElementTree.Element] = {}  # tag -> what only one program reads, once
    for part in parts:
        try:
            source = ElementTree.parse(part.urdf).getroot()
        except (OSError, ElementTree.ParseError) as error:
            raise ConfigError(f'cannot read the robot model {part.urdf}: {error}.') from error
        if (settings := source.find('mujoco')) is not None:
            readers.setdefault('mujoco', settings)
        whole.extend(_renamed(e, part) for e in source if e.tag in KEPT)
        bolt = ElementTree.SubElement(whole, 'joint', name=f'{part.prefix}bolt', type='fixed')
        ElementTree.SubElement(bolt, 'parent', link=part.parent)
        ElementTree.SubElement(bolt, 'child', link=part.prefix + part.root)
        ElementTree.SubElement(
            bolt, 'origin', xyz=_numbers(part.position), rpy=_numbers(_rpy(part.orientation))
        )
    whole.insert(0, ElementTree.Element('link', name=root))
    for settings in readers.values():
        whole.insert(0, settings)
    ElementTree.indent(whole)
    return ElementTree.tostring(whole, encoding='utf-8', xml_declaration=True)


def turning_joints(urdf: Path) -> frozenset[str]:
    """Return the joints of a URDF that turn, whose positions are in radians.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        root = ElementTree.parse(urdf).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigError(f'cannot read {urdf}: {error}.') from error
    turning = (j for j in root.iter('joint') if j.get('type') in ('revolute', 'continuous'))
    return frozenset(joint.get('name', '') for joint in turning)


def _renamed(element: ElementTree.Element, part: Bolted) -> ElementTree.Element:
    """Prefix every name in an element, and tell where its meshes lie."""
    for child in element.iter():
        attribute = NAMES.get(child.tag)
        if attribute in child.attrib:
            child.set(attribute, part.prefix + child.attrib[attribute])
        file = child.attrib.get('filename', '') if child.tag == 'mesh' else ''
        if file and '://' not in file:
            child.set('filename', str(part.urdf.resolve().parent / file))
    return element


def turn_of(orientation: Sequence[float]) -> Array:
    """Return the matrix (3, 3) of a quaternion xyzw of length 1."""
    x, y, z, w = orientation
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _rpy(orientation: Sequence[float]) -> Vector3:
    """Return the angles [rad] about the fixed axes x, y, z of a quaternion xyzw."""
    r = turn_of(orientation)
    level = hypot(r[0, 0], r[1, 0])
    pitch = atan2(-r[2, 0], level)
    if level < 1e-9:  # roll and yaw turn about one axis: all of it is roll
        return atan2(-r[1, 2], r[1, 1]), pitch, 0.0
    return atan2(r[2, 1], r[2, 2]), pitch, atan2(r[1, 0], r[0, 0])


def _numbers(values: Sequence[float]) -> str:
    return ' '.join(repr(float(value)) for value in values)
