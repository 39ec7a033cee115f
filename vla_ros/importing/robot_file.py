"""The robot file that an import writes: what was found, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import yaml

from vla_ros.importing.body import Body
from vla_ros.importing.limits import Proposal, SPEED
from vla_ros.importing.pairs import Pairs, PLACES, REASONS
from vla_ros.importing.parts import Parts
from vla_ros.types import Array

ARM_TOPIC = 'joint_trajectory_controller/joint_trajectory'
GRIPPER_TOPIC = 'gripper_controller/joint_trajectory'
GRIPPER_SPEED, GRIPPER_EFFORT = 0.1, 20.0  # where the URDF has none


@dataclass(frozen=True)
class Content:
    """All that stands in a robot file."""

    name: str
    urdf: str
    source: str  # what it was imported from
    base: str
    parts: Parts
    limits: Proposal
    ends: tuple[float, float] | None  # of the gripper: closed and open
    body: Body
    floor: float | None  # [m]
    pairs: Pairs | None = None  # None until they are known
    home: Array | None = None  # (n,) [rad]; None until it is known


def write(content: Content) -> str:
    """Return the text of a robot file."""
    parts, body = content.parts, content.body
    home = content.home if content.home is not None else _middle(content.limits)
    lines = [
        f'# {content.name}, imported from {content.source} by `vla robot import`.',
        '# SI units, radians; frames are links of the URDF, which is a copy: only arm and gripper',
        '# move in it. See what is marked as a proposal against the data sheet.',
        f'name: {_flow(content.name)}',
        f'urdf: {_flow(content.urdf)}',
        f'base_frame: {_flow(content.base)}',
        f'tool_frame: {_flow(parts.tool)}',
        '',
        '# Proposals. Position: up to 0.05 rad inside of the URDF. Velocity:'
        f' {SPEED:.0%} of the URDF. Acceleration:',
        f'# {content.limits.reason}.',
        '# Jerk: 40 1/s times the acceleration.',
        'joints:',
        *(f'  - {_flow(_limit(joint))}' for joint in content.limits.joints),
        '',
    ]
    if content.ends is not None and parts.gripper is not None:
        lines += [
            '# Closed and open: the ends of the URDF where the tips have least and most room.',
            f'gripper: {_flow(_gripper(parts, content.ends))}',
            '',
        ]
    lines += [
        '# Proposal: clear of the arm itself and of the floor, elbow up, no limit near.',
        f'home: {_flow([float(q) for q in home])}',
        '',
        'cameras: []  # as in config/robots/panda.yaml: topic, link that carries it, view',
        '',
        '# Proposal: the topics of a joint_trajectory_controller by its own name.',
        'driver:',
        '  kind: joint_trajectory_controller',
        f'  arm_topic: {ARM_TOPIC}',
    ]
    if content.ends is not None:
        lines.append(f'  gripper_topic: {GRIPPER_TOPIC}')
    lines += [
        '',
        '# Capsules enclose every point of the shapes of their links, proven by subdivision;',
        '# those of the fingers enclose them at every opening.',
        'capsules:',
        *(f'  - {_flow(_plain(capsule))}' for capsule in body.capsules),
        *_pair_lines(content.pairs),
        f'finger_capsules: {_flow(list(body.finger_capsules))}',
    ]
    if content.floor is None:
        lines.append('# No floor: the arm reaches below what it stands on, or nothing stands.')
    else:
        lines += [
            '# The lowest point of what does not move. Exempt: what cannot come nearer to it.',
            f'floor_height: {content.floor}',
        ]
    exempt = [] if content.pairs is None else list(content.pairs.floor_exempt)
    lines.append(f'floor_exempt: {_flow(exempt)}')
    return '\n'.join(lines) + '\n'


def _pair_lines(pairs: Pairs | None) -> list[str]:
    if pairs is None:
        return ['ignored_pairs: []']
    lines = [
        '',
        f'# Never checked, by {PLACES} joint positions drawn evenly inside the limits. The other',
        f'# {pairs.checked} pairs are checked.',
        'ignored_pairs:' if pairs.ignored else 'ignored_pairs: []',
    ]
    order = list(REASONS)
    ranked = sorted(pairs.ignored.items(), key=lambda item: order.index(item[1]))
    for reason, group in groupby(ranked, key=lambda item: item[1]):
        seen = f'; the nearest came to {1e3 * pairs.nearest:.1f} mm' if reason == 'apart' else ''
        lines.append(f'  # {REASONS[reason]}{seen}')
        lines += [f'  - {_flow(list(pair))}' for pair, _ in group]
    return lines


def _middle(limits: Proposal) -> Array:
    return np.array([0.5 * (joint.lower + joint.upper) for joint in limits.joints])


def _limit(joint: Any) -> dict[str, Any]:
    keys = ('name', 'lower', 'upper', 'velocity', 'acceleration', 'jerk')
    return {key: getattr(joint, key) for key in keys}


def _gripper(parts: Parts, ends: tuple[float, float]) -> dict[str, Any]:
    assert parts.gripper is not None
    return {
        'joint': parts.gripper.name,
        'closed': ends[0],
        'open': ends[1],
        'velocity': parts.gripper.velocity or GRIPPER_SPEED,
        'effort': parts.gripper.effort or GRIPPER_EFFORT,
    }


def _plain(capsule: Any) -> dict[str, Any]:
    return {
        'name': capsule.name,
        'link': capsule.link,
        'a': list(capsule.a),
        'b': list(capsule.b),
        'radius': capsule.radius,
    }


def _flow(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix('...\n').strip()
