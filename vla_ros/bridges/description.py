"""The robot's description as other tools take it: its URDF with a frame for each camera."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.robot import Camera, RobotSpec
from vla_ros.types import Array

Element = ElementTree.Element
_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # of x forward, z up


def describe(robot: RobotSpec) -> Element:
    """Return the URDF with the optical frame of every camera as a link of its own."""
    root = ElementTree.fromstring(robot.urdf_path.read_text(encoding='utf-8'))
    for camera in robot.cameras:
        turn = forward(camera) @ _OPTICAL.T
        fixed(root, camera.frame, camera.optical_frame, camera.position, angles(turn))
    return root


def text(root: Element) -> str:
    """Return a description as XML."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode')


def forward(camera: Camera) -> Array:
    """Return the axes (3, 3) of a camera in its link: x looks, z is up in the picture."""
    x = np.subtract(camera.look_at, camera.position)
    x = x / np.linalg.norm(x)
    y = np.cross(camera.up, x)
    y = y / np.linalg.norm(y)
    return np.column_stack((x, y, np.cross(x, y)))


def angles(turn: Array) -> Array:
    """Return roll, pitch and yaw (3,) [rad] of axes (3, 3), as URDF and SDF write them."""
    return Rotation.from_matrix(turn).as_euler('xyz')


def fixed(
    root: Element, parent: str, child: str, place: Sequence[float], turn: Sequence[float] | Array
) -> None:
    """Add a link `child`, and a fixed joint that carries it.

    Args:
        root: The URDF.
        parent: Link that carries it.
        child: Name of the link.
        place: (3,) in the parent [m].
        turn: (3,) roll, pitch and yaw in the parent [rad].
    """
    ElementTree.SubElement(root, 'link', name=child)
    hold(root, parent, child, place, turn)


def hold(
    root: Element, parent: str, child: str, place: Sequence[float], turn: Sequence[float] | Array
) -> None:
    """Add a fixed joint from one link to another; arguments as for `fixed`."""
    joint = ElementTree.SubElement(root, 'joint', name=f'{parent}_to_{child}', type='fixed')
    ElementTree.SubElement(joint, 'parent', link=parent)
    ElementTree.SubElement(joint, 'child', link=child)
    ElementTree.SubElement(joint, 'origin', xyz=numbers(place), rpy=numbers(turn))


def numbers(values: Sequence[float] | Array) -> str:
    """Return numbers as URDF and SDF write a vector."""
    return ' '.join(f'{value:.9g}' for value in values)


def named(parent: Element, tag: str, content: str, **attributes: str) -> Element:
    """Add an element with a text to another one, and return it."""
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = content
    return element
