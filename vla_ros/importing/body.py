"""The capsules of an arm: those of its links, and those of its fingers wherever they may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_ros.errors import KinematicsError
from vla_ros.importing.description import Description
from vla_ros.importing.fingers import sweep
from vla_ros.importing.parts import Parts
from vla_ros.kinematics import read_model
from vla_ros.kinematics.capsules import fit_capsules
from vla_ros.kinematics.enclosure import Fit, sticks_out
from vla_ros.kinematics.solids import joined, link_solids, Solid
from vla_ros.robot import Capsule

FINE = 6, 0.03  # capsules of a link where few are too thick, and what one more must save
DIGITS = 4  # of a capsule in the file, 0.1 mm


@dataclass(frozen=True)
class Body:
    """What encloses an arm, and what it encloses."""

    capsules: tuple[Capsule, ...]
    finger_capsules: tuple[str, ...]
    links: Mapping[str, tuple[str, ...]]  # link of the URDF -> capsules that enclose it
    solids: Mapping[str, Solid]  # link -> what it is made of, in its frame


def make_body(
    urdf: Path,
    description: Description,
    parts: Parts,
    step: Callable[[str], None] = lambda link: None,
    fine: Collection[str] = (),
) -> Body:
    """Fit capsules to every link of an arm.

    Links that move with a joint of the gripper get theirs in the frame of the link that carries
    the gripper, around every place where that joint can put them.

    Args:
        urdf: As `Description.reduced` wrote it.
        description: Of the same robot.
        parts: Of the same robot.
        step: Is told each link before it is fitted.
        fine: Links that get more and smaller capsules.

    Raises:
        KinematicsError: A mesh cannot be read, or there is no shape at all.
    """
    solids = link_solids(urdf)
    if not solids:
        raise KinematicsError(
            f'{urdf.name} has no shape to enclose, neither collision nor visual.'
        )
    model = read_model(urdf)
    moved = {link for joint in parts.fingers for link in _carried(description, joint.child)}
    capsules: list[Capsule] = []
    links: dict[str, tuple[str, ...]] = {}
    bodies: dict[int, list[tuple[Fit, str]]] = {}  # moving joint -> capsules in its frame
    for link, solid in sorted(solids.items(), key=lambda item: -_size(item[1])):
        if link in moved:
            continue
        step(link)
        frame = model.frames[model.getFrameId(link)]
        turn, place = frame.placement.rotation, frame.placement.translation
        mates = bodies.setdefault(frame.parentJoint, [])
        if sticks_out(solid.moved(turn, place), [fit for fit, _ in mates]) <= 0.0:
            links[link] = tuple(name for _, name in mates)
            continue
        made = _named(link, fit_capsules(solid, *(FINE if link in fine else ())))
        capsules += made
        links[link] = tuple(capsule.name for capsule in made)
        for c in made:
            fit = Fit(turn @ np.array(c.a) + place, turn @ np.array(c.b) + place, c.radius)
            mates.append((fit, c.name))
    order = {link: i for i, link in enumerate(_outwards(description))}
    capsules.sort(key=lambda capsule: order[capsule.link])
    grasp: list[Capsule] = []
    fingers = sorted(moved & solids.keys())
    if fingers:
        step('fingers')
        swept = [sweep(model, parts, link, solids[link]) for link in fingers]
        grasp = _named(parts.carrier, fit_capsules(joined(swept)), 'fingers')
        links.update({link: tuple(c.name for c in grasp) for link in fingers})
    return Body((*capsules, *grasp), tuple(c.name for c in grasp), links, solids)


def _size(solid: Solid) -> float:
    return float(np.ptp(solid.triangles, axis=(0, 1)).max() + solid.radius.max())


def _named(link: str, fits: Sequence[Fit], name: str | None = None) -> list[Capsule]:
    made = []
    for number, fit in enumerate(fits, 1):
        a, b = (tuple(round(float(x), DIGITS) + 0.0 for x in end) for end in (fit.a, fit.b))
        called = (name or link) + (f'_{number}' if number > 1 else '')
        made.append(Capsule(called, link, a, b, round(fit.radius, DIGITS)))  # type: ignore[arg-type]
    return made


def _outwards(description: Description) -> list[str]:
    return [description.base, *(joint.child for joint in description.joints.values())]


def _carried(description: Description, link: str) -> list[str]:
    return [link, *(joint.child for joint in description.below(link))]
