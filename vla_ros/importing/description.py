"""The links and joints of a URDF as a tree, and a copy of it that says only what one arm needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
import math
import os
from pathlib import Path
from xml.etree import ElementTree

from vla_ros.errors import ConfigError, UnknownNameError

TURNING = ('revolute', 'continuous')
MOVING = (*TURNING, 'prismatic')
TURNS = 2.0 * math.pi  # [rad] either way, that a continuous joint is given


@dataclass(frozen=True)
class Joint:
    """One joint of a URDF."""

    name: str
    kind: str
    parent: str
    child: str
    lower: float  # [rad] or [m]
    upper: float
    velocity: float  # [rad/s] or [m/s], 0 where the URDF does not say
    effort: float  # [N m] or [N], 0 where it does not say
    leader: str = ''  # the joint that it mimics: q = ratio q_leader + shift
    ratio: float = 1.0
    shift: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether it has an axis of its own."""
        return self.kind in MOVING


class Description:
    """A URDF below one link, which is the base of the arm."""

    def __init__(self, text: str, where: str, base: str | None = None) -> None:
        """Read a URDF.

        Args:
            text: Of the URDF.
            where: Where it came from, for messages.
            base: Link that stands still; None is the root.

        Raises:
            ConfigError: It is not a URDF of one tree.
            UnknownNameError: It has no such base.
        """
        try:
            self.root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ConfigError(f'{where} is not XML: {error}.') from error
        if self.root.tag != 'robot':
            raise ConfigError(f'{where} is a <{self.root.tag}>, expected the <robot> of a URDF.')
        self.where = where
        links = {link.attrib['name'] for link in self.root.findall('link')}
        joints = [_joint(element, where) for element in self.root.findall('joint')]
        for joint in joints:
            for link in (joint.parent, joint.child):
                if link not in links:
                    raise UnknownNameError('link', link, links, f"joint '{joint.name}' of {where}")
        roots = links - {joint.child for joint in joints}
        if len(roots) != 1 or len({joint.child for joint in joints}) < len(joints):
            raise ConfigError(f'{where} has the roots {sorted(roots)}, expected one tree.')
        self.base = base or next(iter(roots))
        if self.base not in links:
            raise UnknownNameError('link', self.base, links, where)
        self._below: dict[str, list[Joint]] = {link: [] for link in links}
        for joint in joints:
            self._below[joint.parent].append(joint)
        self.joints = {joint.name: joint for joint in self.below(self.base)}

    def below(self, link: str) -> Iterator[Joint]:
        """Yield every joint below a link, each before those that it carries."""
        for joint in self._below[link]:
            yield joint
            yield from self.below(joint.child)

    def rigid(self, link: str) -> list[str]:
        """Return a link and those that fixed joints hang on it, each before its own."""
        found = [link]
        for joint in self._below[link]:
            if joint.kind == 'fixed':
                found += self.rigid(joint.child)
        return found

    def to(self, link: str) -> list[Joint]:
        """Return the joints from the base to a link.

        Raises:
            UnknownNameError: The link is not below the base.
        """
        above = {joint.child: joint for joint in self.joints.values()}
        if link not in above and link != self.base:
            raise UnknownNameError('link', link, [self.base, *above], f"'{self.base}' and below")
        way: list[Joint] = []
        while link != self.base:
            way.insert(0, above[link])
            link = way[0].parent
        return way

    def joint(self, name: str) -> Joint:
        """Return a joint by its name.

        Raises:
            UnknownNameError: There is none below the base.
        """
        if name not in self.joints:
            moving = [joint.name for joint in self.joints.values() if joint.moves]
            raise UnknownNameError('joint', name, moving, self.where)
        return self.joints[name]

    def reduced(self, name: str, free: Sequence[str], folders: Sequence[Path]) -> str:
        """Return a URDF of what is below the base, in which only some joints move.

        Every other joint is fixed at 0, a continuous joint is given two turns, and meshes are
        named by the files that they are.

        Args:
            name: Of the robot.
            free: Joints that keep their axes.
            folders: Where packages may lie, and relative addresses begin.

        Raises:
            ConfigError: A mesh is not there.
        """
        links = {self.base, *(joint.child for joint in self.joints.values())}
        robot = ElementTree.Element('robot', name=name)
        for element in self.root:
            if element.tag == 'material' or (
                element.tag == 'link' and element.attrib['name'] in links
            ):
                robot.append(deepcopy(element))
            elif element.tag == 'joint' and element.attrib['name'] in self.joints:
                robot.append(_freed(deepcopy(element), free))
        for mesh in robot.iter('mesh'):
            file = mesh_file(mesh.attrib['filename'], folders)
            mesh.set('filename', file.as_uri())
        ElementTree.indent(robot)
        return ElementTree.tostring(robot, encoding='unicode') + '\n'


def mesh_file(address: str, folders: Sequence[Path]) -> Path:
    """Return the file of a mesh's address.

    Args:
        address: `package://PACKAGE/path`, `file://path`, or a path.
        folders: Where packages may lie, and relative addresses begin.

    Raises:
        ConfigError: No such file is there; the message lists where it was looked for.
    """
    scheme, _, rest = address.rpartition('://')
    package, _, inside = rest.partition('/')
    tried = []
    for folder in folders:
        if scheme in ('package', 'model'):
            tried += [folder / rest, folder / 'share' / rest]
            if folder.name == package:
                tried.append(folder / inside)
        else:
            tried.append(folder / rest)
    for file in tried:
        if file.is_file():
            return file.resolve()
    raise ConfigError(
        f"mesh '{address}' was not found below {', '.join(map(str, folders))}: name the folder "
        'that holds its package with --package-dir.'
    )


def folders_of(urdf: Path | None, given: Sequence[Path]) -> list[Path]:
    """Return where meshes may lie: as given, beside and above a URDF, in sourced workspaces."""
    near = [urdf.resolve().parent, *urdf.resolve().parents] if urdf is not None else [Path.cwd()]
    listed = [
        Path(p)
        for variable in ('AMENT_PREFIX_PATH', 'ROS_PACKAGE_PATH')
        for p in os.environ.get(variable, '').split(os.pathsep)
        if p
    ]
    return [*given, *near, *listed]


def _joint(element: ElementTree.Element, where: str) -> Joint:
    def read(tag: str, key: str, default: float = 0.0) -> float:
        child = element.find(tag)
        return default if child is None else float(child.attrib.get(key, default))

    try:
        parent, child = (element.find(tag).attrib['link'] for tag in ('parent', 'child'))  # type: ignore[union-attr]
        mimic = element.find('mimic')
        kind = element.attrib['type']
        lower, upper = read('limit', 'lower'), read('limit', 'upper')
        if kind == 'continuous' or (kind == 'revolute' and lower == upper == 0.0):
            lower, upper = -TURNS, TURNS
        return Joint(
            element.attrib['name'], kind, parent, child, lower, upper,
            abs(read('limit', 'velocity')), abs(read('limit', 'effort')),
            '' if mimic is None else mimic.attrib['joint'],
            read('mimic', 'multiplier', 1.0), read('mimic', 'offset'),
        )  # fmt: skip
    except (AttributeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{where}: joint '{element.attrib.get('name')}' lacks or misspells {error}."
        ) from error


def _freed(element: ElementTree.Element, free: Sequence[str]) -> ElementTree.Element:
    joint = _joint(element, '')
    if joint.name not in free:
        element.set('type', 'fixed')
        for tag in ('axis', 'limit', 'mimic', 'dynamics', 'calibration', 'safety_controller'):
            for child in element.findall(tag):
                element.remove(child)
    elif joint.kind in TURNING:
        element.set('type', 'revolute')
        limit = element.find('limit')
        if limit is None:
            limit = ElementTree.SubElement(element, 'limit')
        for key, value in (
            ('lower', joint.lower), ('upper', joint.upper), ('velocity', joint.velocity),
            ('effort', joint.effort),
        ):  # fmt: skip
            limit.set(key, repr(value))
    return element
