"""The whole import: a description in, a robot file, its URDF and a picture out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import math
from pathlib import Path
import re

import numpy as np

from vla_ros.errors import KinematicsError
from vla_ros.importing.body import Body, make_body
from vla_ros.importing.description import Description
from vla_ros.importing.fingers import ends
from vla_ros.importing.home import find_home
from vla_ros.importing.limits import propose_limits
from vla_ros.importing.pairs import find_pairs
from vla_ros.importing.parts import find_parts, Parts
from vla_ros.importing.picture import draw
from vla_ros.importing.robot_file import Content, write
from vla_ros.importing.srdf import Srdf
from vla_ros.kinematics import read_model
from vla_ros.kinematics.enclosure import Fit, sticks_out
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.types import Array

Step = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a user may say; None and empty: what is found."""

    name: str | None = None
    base: str | None = None
    tool: str | None = None
    gripper: str | None = None
    joints: tuple[str, ...] = ()
    seed: int = 0  # of everything that is drawn


@dataclass(frozen=True)
class Imported:
    """What an import wrote and found."""

    robot: RobotSpec
    file: Path
    urdf: Path
    picture: Path
    parts: Parts
    body: Body
    ignored: dict[str, int]  # reason -> pairs
    checked: int  # pairs
    notes: tuple[str, ...]  # what its owner should look at


def import_robot(
    text: str,
    source: str,
    out: Path,
    folders: Sequence[Path],
    asked: Asked | None = None,
    srdf: Srdf | None = None,
    step: Step = lambda what: None,
) -> Imported:
    """Write NAME.yaml, NAME.urdf and NAME.png into a folder.

    Args:
        text: Of a URDF.
        source: Where it came from, for messages and the head of the file.
        out: Folder that is written into.
        folders: Where meshes may lie.
        asked: What is not to be found but taken.
        srdf: Pairs and poses that are known.
        step: Is told what is done next.

    Raises:
        ConfigError: The description is none, is several arms, or a mesh is not there.
        KinematicsError: The arm is not one chain, has no shapes or no pose that is clear.
    """
    asked, srdf = asked or Asked(), srdf or Srdf()
    description = Description(text, source, asked.base)
    parts = find_parts(description, joints=asked.joints, tool=asked.tool, gripper=asked.gripper)
    name = asked.name or _file_name(description.root.attrib.get('name', 'robot'))
    free = [joint.name for joint in (*parts.arm, *parts.fingers)]
    out.mkdir(parents=True, exist_ok=True)
    urdf, file = out / f'{name}.urdf', out / f'{name}.yaml'
    urdf.write_text(description.reduced(name, free, folders), encoding='utf-8')
    step('limits')
    limits = propose_limits(urdf, parts, np.random.default_rng([asked.seed, 0]))
    fine: set[str] = set()  # links whose capsules are too thick for the room that there is
    while True:
        body = make_body(urdf, description, parts, step, fine)
        opening = None if parts.gripper is None else ends(read_model(urdf), parts, body.solids)
        content, robot = _settled(
            Content(
                name, urdf.name, source, description.base, parts, limits, opening, body,
                _floor(urdf, body),
            ),
            file, srdf, asked.seed, step,
        )  # fmt: skip
        assert content.pairs is not None
        thick = {c for pair in content.pairs.thick for c in pair}
        links = {link for link, names in body.links.items() if thick & set(names)}
        if links <= fine:
            break
        fine |= links
    step('proof')
    _prove(robot, body)
    step('picture')
    picture = out / f'{name}.png'
    draw(robot, parts, body, opening, picture)
    reasons = list(content.pairs.ignored.values())
    return Imported(
        robot, file, urdf, picture, parts, body,
        {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        content.pairs.checked,
        tuple(_notes(description, parts, content)),
    )  # fmt: skip


def _settled(
    content: Content, file: Path, srdf: Srdf, seed: int, step: Step
) -> tuple[Content, RobotSpec]:
    """Find pairs and home and write the file; without a floor where no home is above it."""
    file.write_text(write(content), encoding='utf-8')
    step('pairs')
    draws = np.random.default_rng([seed, 1])
    pairs = find_pairs(load_robot(file), content.parts, content.body, srdf.disabled, draws)
    content = replace(content, pairs=pairs)
    file.write_text(write(content), encoding='utf-8')
    step('home')
    poses: list[Array] = srdf.poses([joint.name for joint in content.parts.arm])
    try:
        home = find_home(load_robot(file), poses, np.random.default_rng([seed, 2]))
    except KinematicsError:
        if content.floor is None:
            raise
        return _settled(replace(content, floor=None, pairs=None), file, srdf, seed, step)
    content = replace(content, home=home)
    file.write_text(write(content), encoding='utf-8')
    return content, load_robot(file)


def _file_name(name: str) -> str:
    return re.sub(r'\W+', '_', name).strip('_').lower() or 'robot'


def _floor(urdf: Path, body: Body) -> float:
    """Return the lowest point of what no joint moves [m], 1 mm down; 0 where nothing stands."""
    model = read_model(urdf)
    lowest = [
        float((s.moved(f.placement.rotation, f.placement.translation).triangles[..., 2]
               - s.radius[:, None]).min())
        for link, s in body.solids.items()
        if (f := model.frames[model.getFrameId(link)]).parentJoint == 0
    ]  # fmt: skip
    return math.floor(1e3 * min(lowest, default=0.0) + 1e-6) / 1e3 + 0.0


def _prove(robot: RobotSpec, body: Body) -> None:
    """Prove once more, of the file as it was read back, that no shape sticks out.

    Raises:
        KinematicsError: One does.
    """
    model = read_model(robot.urdf_path)
    fits: dict[int, list[Fit]] = {}
    for capsule in robot.capsules:
        frame = model.frames[model.getFrameId(capsule.link)]
        a, b = (frame.placement.act(np.array(end)) for end in (capsule.a, capsule.b))
        fits.setdefault(frame.parentJoint, []).append(Fit(a, b, capsule.radius))
    for link, solid in body.solids.items():
        frame = model.frames[model.getFrameId(link)]
        if any(name in robot.finger_capsules for name in body.links[link]):
            continue  # the sweep was proven where it was fitted
        place = frame.placement
        beyond = sticks_out(
            solid.moved(place.rotation, place.translation), fits[frame.parentJoint]
        )
        if beyond > 0.0:
            raise KinematicsError(f"link '{link}' sticks out {1e3 * beyond:.3f} mm: report it.")


def _notes(description: Description, parts: Parts, content: Content) -> list[str]:
    notes = []
    own = {joint.name for joint in (*parts.arm, *parts.fingers)}
    fixed = [j.name for j in description.joints.values() if j.moves and j.name not in own]
    if fixed:
        notes.append(f'fixed at 0, since they are no joints of this arm: {", ".join(fixed)}.')
    if parts.gripper is None:
        notes.append(
            f"no joint moves beyond '{parts.hand}': there is no gripper. If a joint of the arm is "
            'one, name it with --gripper.'
        )
    else:
        loose = [
            j.name for j in parts.fingers if j.name != parts.gripper.name
            and j.leader != parts.gripper.name
        ]  # fmt: skip
        if loose:
            notes.append(f'nobody commands {", ".join(loose)}: capsules allow for any place.')
    turning = [joint.name for joint in parts.arm if joint.kind == 'continuous']
    if turning:
        notes.append(f'given two turns either way, since they have no ends: {", ".join(turning)}.')
    if content.floor is None:
        notes.append('no pose was clear of the floor, so there is none: add it to the file.')
    assert content.pairs is not None
    notes += [
        f'{a} and {b} always overlap and are not checked; the shapes in them come as near as '
        f'{1e3 * max(room, 0.0):.1f} mm: see whether the URDF means that.'
        for (a, b), room in content.pairs.doubts.items()
    ]
    return notes
