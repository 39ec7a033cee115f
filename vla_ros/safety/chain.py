"""The arms as the compiled core sees them: serial chains of n revolute joints, and m capsules.

Each arm is one chain from the base; the joints of a chain follow each other. Most robots have one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_ros.safety.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Arm(NamedTuple):
    """Constants of the arms: frame j is at `offset[j]` and turned by `turn[j]` in frame j - 1.

    The frame of the first joint of a chain is in the base. What the base carries has joint -1.
    """

    turn: Floats  # (n, 3, 3)
    offset: Floats  # (n, 3) [m]
    axis: Floats  # (n, 3) unit vector, frame j
    capsule_joint: Ints  # (m,) frame that carries the capsule, -1 for the base
    capsule_a: Floats  # (m, 3) [m]
    capsule_b: Floats  # (m, 3) [m]
    capsule_radius: Floats  # (m,) [m]
    lever: Floats  # (m, n) [m] bound of the distance from axis j to the capsule's segment
    pairs: Ints  # (P, 2) capsules, first those within a chain, base included: inner one first
    above_floor: Ints  # (F,) capsules
    moving: Ints  # (M,) capsules that are checked against obstacles
    floor: float  # [m] height of the floor, -inf for none
    tool: Floats  # (A, 3) [m] tool centre of each chain in its last frame
    chains: Ints  # (A, 2) first joint of each chain, and its last
    first: Ints  # (m,) first joint of the chain that carries the capsule, 0 for the base
    within: int  # how many of the pairs are within a chain


class Pose(NamedTuple):
    """Where everything is at one q; buffers that `forward` fills."""

    turn: Floats  # (n, 3, 3)
    origin: Floats  # (n, 3) [m]
    axis: Floats  # (n, 3)
    ends: Floats  # (m, 2, 3) [m] ends of every capsule's segment


@compiled
def forward(arm, q, pose):
    """Fill `pose` with frames, joint axes and capsule ends in the base frame at q (n,) [rad]."""
    chain, begins = 0, 0  # the next chain, and its first joint
    for j in range(len(q)):
        root = j == begins
        if root:
            chain += 1
            begins = arm.chains[chain, 0] if chain < len(arm.chains) else -1
        x, y, z = arm.axis[j]
        c, s = math.cos(q[j]), math.sin(q[j])
        k = 1.0 - c
        r00, r01, r02 = c + x * x * k, x * y * k - z * s, x * z * k + y * s
        r10, r11, r12 = y * x * k + z * s, c + y * y * k, y * z * k - x * s
        r20, r21, r22 = z * x * k - y * s, z * y * k + x * s, c + z * z * k
        for i in range(3):
            if root:
                pose.origin[j, i] = arm.offset[j, i]
                p0, p1, p2 = arm.turn[j, i, 0], arm.turn[j, i, 1], arm.turn[j, i, 2]
            else:
                b = pose.turn[j - 1, i]
                o, t = arm.offset[j], arm.turn[j]
                origin = b[0] * o[0] + b[1] * o[1] + b[2] * o[2]
                pose.origin[j, i] = pose.origin[j - 1, i] + origin
                p0 = b[0] * t[0, 0] + b[1] * t[1, 0] + b[2] * t[2, 0]
                p1 = b[0] * t[0, 1] + b[1] * t[1, 1] + b[2] * t[2, 1]
                p2 = b[0] * t[0, 2] + b[1] * t[1, 2] + b[2] * t[2, 2]
            pose.axis[j, i] = p0 * x + p1 * y + p2 * z
            pose.turn[j, i, 0] = p0 * r00 + p1 * r10 + p2 * r20
            pose.turn[j, i, 1] = p0 * r01 + p1 * r11 + p2 * r21
            pose.turn[j, i, 2] = p0 * r02 + p1 * r12 + p2 * r22
    for c_ in range(len(arm.capsule_joint)):
        j = arm.capsule_joint[c_]
        a, b = arm.capsule_a[c_], arm.capsule_b[c_]
        for i in range(3):
            if j < 0:
                pose.ends[c_, 0, i], pose.ends[c_, 1, i] = a[i], b[i]
            else:
                t, o = pose.turn[j, i], pose.origin[j, i]
                pose.ends[c_, 0, i] = o + t[0] * a[0] + t[1] * a[1] + t[2] * a[2]
                pose.ends[c_, 1, i] = o + t[0] * b[0] + t[1] * b[1] + t[2] * b[2]


@compiled
def tool_place(arm, pose, chain):
    """Return x, y, z of the tool centre of a chain [m]."""
    last = arm.chains[chain, 1]
    t, o, p = pose.turn[last], pose.origin[last], arm.tool[chain]
    return (
        o[0] + t[0, 0] * p[0] + t[0, 1] * p[1] + t[0, 2] * p[2],
        o[1] + t[1, 0] * p[0] + t[1, 1] * p[1] + t[1, 2] * p[2],
        o[2] + t[2, 0] * p[0] + t[2, 1] * p[1] + t[2, 2] * p[2],
    )


@compiled
def gain(pose, j, n, x, y, z):
    """Return n.(axis_j x (p - origin_j)) [m]: speed of a point along n, by speed of joint j."""
    a = pose.axis[j]
    r0, r1, r2 = x - pose.origin[j, 0], y - pose.origin[j, 1], z - pose.origin[j, 2]
    return (
        n[0] * (a[1] * r2 - a[2] * r1)
        + n[1] * (a[2] * r0 - a[0] * r2)
        + n[2] * (a[0] * r1 - a[1] * r0)
    )
