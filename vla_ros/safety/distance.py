"""Clearances between two bodies, compiled: segments with radii, boxes, half-spaces.

A *row* is one thing that must not touch another: first the capsule pairs, then the capsules above
the floor, then every moving capsule with every obstacle. A row knows the moving capsule, the
joint before which its other body is fixed, and a margin; in a pair of two arms the other body is
a capsule that moves by itself.

A clearance is always the separation along one fixed direction, so it never exceeds the distance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vla_ros.safety.chain import Floats, Ints
from vla_ros.safety.compiled import compiled

SEGMENT, BOX, PLANE = 0, 1, 2  # kind of an obstacle: along z with a radius; box; half-space
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
GOLDEN_STEPS = 32  # narrows a segment to 2e-7 of its length
TOUCH = 1e-9  # [m] below this distance a direction is meaningless


class Solids(NamedTuple):
    """The obstacles at one instant, grown by what is not known about them until then.

    After t more seconds the surface of one lies within swell t + accel t^2 / 2 of where it would
    be had it moved by velocity t.
    """

    kind: Ints  # (O,)
    centre: Floats  # (O, 3) [m]; of a half-space any point of its surface
    turn: Floats  # (O, 3, 3); the outward normal of a half-space is its third column
    half: Floats  # (O, 3) [m] half edges of a box; for a segment only z, its half length
    radius: Floats  # (O,) [m]
    velocity: Floats  # (O, 3) [m/s]
    spin: Floats  # (O, 3) [rad/s]
    swell: Floats  # (O,) [m/s] how much faster than `velocity` any point of the surface may move
    accel: Floats  # (O,) [m/s^2] bound of the change of its velocity
    role: Ints  # (O,) PERSON, TARGET or OTHER
    seen_centre: Floats  # (O, 3) [m] `centre` at the stamp of the world
    seen_radius: Floats  # (O,) [m] `radius` at the stamp of the world


OTHER, PERSON, TARGET = range(3)


@compiled
def closest_on_segments(p0, p1, q0, q1):
    """Return s, t in [0, 1] of the closest points of two segments (Ericson 2005, 5.1.9)."""
    a = e = f = b = c = 0.0
    for i in range(3):
        u, v, w = p1[i] - p0[i], q1[i] - q0[i], p0[i] - q0[i]
        a += u * u
        e += v * v
        b += u * v
        c += u * w
        f += v * w
    if a <= 1e-18 and e <= 1e-18:
        return 0.0, 0.0
    if a <= 1e-18:
        return 0.0, min(max(f / e, 0.0), 1.0)
    if e <= 1e-18:
        return min(max(-c / a, 0.0), 1.0), 0.0
    det = a * e - b * b
    s = 0.0
    if det > 1e-14 * a * e:
        s = min(max((b * f - c * e) / det, 0.0), 1.0)
    t = (b * s + f) / e
    if t < 0.0:
        return min(max(-c / a, 0.0), 1.0), 0.0
    if t > 1.0:
        return min(max((b - c) / a, 0.0), 1.0), 1.0
    return s, t


@compiled
def box_distance(half, x, y, z):
    """Return the signed distance of a point from a box in the box's frame [m]; convex."""
    ax, ay, az = abs(x) - half[0], abs(y) - half[1], abs(z) - half[2]
    out = math.sqrt(max(ax, 0.0) ** 2 + max(ay, 0.0) ** 2 + max(az, 0.0) ** 2)
    return out + min(max(ax, ay, az), 0.0)


@compiled
def box_direction(half, x, y, z):
    """Return the gradient of `box_distance` in the box's frame."""
    ax, ay, az = abs(x) - half[0], abs(y) - half[1], abs(z) - half[2]
    ox, oy, oz = max(ax, 0.0), max(ay, 0.0), max(az, 0.0)
    out = math.sqrt(ox * ox + oy * oy + oz * oz)
    if out > TOUCH:
        ox, oy, oz = ox / out, oy / out, oz / out
    elif ax >= ay and ax >= az:
        ox, oy, oz = 1.0, 0.0, 0.0
    elif ay >= az:
        ox, oy, oz = 0.0, 1.0, 0.0
    else:
        ox, oy, oz = 0.0, 0.0, 1.0
    return math.copysign(ox, x), math.copysign(oy, y), math.copysign(oz, z)


@compiled
def into(turn, centre, p):
    """Return a base-frame point in the frame of an obstacle: turn^T (p - centre)."""
    x, y, z = p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]
    return (
        turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z,
        turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z,
        turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z,
    )


@compiled
def nearest_to_box(half, a, b):
    """Return u in [0, 1]: where a + u (b - a) is nearest to a box, by golden section."""
    lo, hi = 0.0, 1.0
    d = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
    u1, u2 = hi - GOLDEN * (hi - lo), lo + GOLDEN * (hi - lo)
    f1 = box_distance(half, a[0] + u1 * d[0], a[1] + u1 * d[1], a[2] + u1 * d[2])
    f2 = box_distance(half, a[0] + u2 * d[0], a[1] + u2 * d[1], a[2] + u2 * d[2])
    for _ in range(GOLDEN_STEPS):
        if f1 <= f2:
            hi, u2, f2 = u2, u1, f1
            u1 = hi - GOLDEN * (hi - lo)
            f1 = box_distance(half, a[0] + u1 * d[0], a[1] + u1 * d[1], a[2] + u1 * d[2])
        else:
            lo, u1, f1 = u1, u2, f2
            u2 = lo + GOLDEN * (hi - lo)
            f2 = box_distance(half, a[0] + u2 * d[0], a[1] + u2 * d[1], a[2] + u2 * d[2])
    return 0.5 * (lo + hi)


@compiled
def put_at(solids, age):
    """Move every obstacle to where it is `age` [s] after its stamp, grown by what is unknown."""
    for o in range(len(solids.kind)):
        for i in range(3):
            solids.centre[o, i] = solids.seen_centre[o, i] + age * solids.velocity[o, i]
        growth = solids.swell[o] * age + 0.5 * solids.accel[o] * age * age
        solids.radius[o] = solids.seen_radius[o] + growth


@compiled
def row_count(arm, solids):
    """Return the number of rows of an arm among obstacles."""
    return len(arm.pairs) + len(arm.above_floor) + len(arm.moving) * len(solids.kind)


@compiled
def row_bodies(arm, row):
    """Return (capsule, fixed, other) of a row.

    The moving capsule, the joint of its chain up to which the other body goes with it, and the
    capsule of another chain that is the other body, -1 for none.
    """
    capsule = row_capsule(arm, row)
    fixed = arm.first[capsule] - 1
    if row >= len(arm.pairs):
        return capsule, fixed, -1
    if row >= arm.within:
        return capsule, fixed, arm.pairs[row, 0]
    return capsule, max(arm.capsule_joint[arm.pairs[row, 0]], fixed), -1


@compiled
def row_capsule(arm, row):
    """Return the moving capsule of a row."""
    p, f = len(arm.pairs), len(arm.above_floor)
    if row < p:
        return arm.pairs[row, 1]
    if row < p + f:
        return arm.above_floor[row - p]
    return arm.moving[(row - p - f) % len(arm.moving)]


@compiled
def dot(n, p):
    """Return the product of two vectors of three numbers."""
    return n[0] * p[0] + n[1] * p[1] + n[2] * p[2]


@compiled
def ends_of(pose, capsule):
    """Return the ends of a capsule's segment as numbers: views of arrays cost more than these."""
    e = pose.ends
    return (
        (e[capsule, 0, 0], e[capsule, 0, 1], e[capsule, 0, 2]),
        (e[capsule, 1, 0], e[capsule, 1, 1], e[capsule, 1, 2]),
    )


@compiled
def clearance(arm, solids, pose, row, n, point):
    """Return (h, support) of a row and fill its direction n (3,) and its nearest point (3,).

    n points from the other body to the moving capsule; `support` is how far the other body with
    both radii reaches along n, so h = min over the two ends e of n.e - support [m].
    """
    p, f = len(arm.pairs), len(arm.above_floor)
    capsule = row_capsule(arm, row)
    k0, k1 = ends_of(pose, capsule)
    radius = arm.capsule_radius[capsule]
    if row >= p and row < p + f:
        n[0], n[1], n[2] = 0.0, 0.0, 1.0
        low = k0 if k0[2] <= k1[2] else k1
        point[0], point[1], point[2] = low
        support = arm.floor + radius
        return low[2] - support, support
    solid = (row - p - f) // len(arm.moving) if row >= p else -1
    if solid >= 0:
        turn, centre, half = solids.turn, solids.centre, solids.half
        support = radius + solids.radius[solid]
        kind = solids.kind[solid]
    else:
        support, kind = radius + arm.capsule_radius[arm.pairs[row, 0]], SEGMENT
    if kind == PLANE:
        for i in range(3):
            n[i] = turn[solid, i, 2]
            support += n[i] * centre[solid, i]
        nearer = dot(n, k0) <= dot(n, k1)
        point[0], point[1], point[2] = k0 if nearer else k1
    elif kind == BOX:
        a, b = into(turn[solid], centre[solid], k0), into(turn[solid], centre[solid], k1)
        u = nearest_to_box(half[solid], a, b)
        local = box_direction(
            half[solid], a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1]),
            a[2] + u * (b[2] - a[2]),
        )  # fmt: skip
        for i in range(3):
            t = turn[solid, i]
            n[i] = t[0] * local[0] + t[1] * local[1] + t[2] * local[2]
            point[i] = k0[i] + u * (k1[i] - k0[i])
            support += abs(local[i]) * half[solid, i] + n[i] * centre[solid, i]
    else:
        if solid >= 0:
            length = half[solid, 2]
            x, y, z = centre[solid, 0], centre[solid, 1], centre[solid, 2]
            dx, dy, dz = (
                turn[solid, 0, 2] * length, turn[solid, 1, 2] * length, turn[solid, 2, 2] * length
            )  # fmt: skip
            i0, i1 = (x - dx, y - dy, z - dz), (x + dx, y + dy, z + dz)
        else:
            i0, i1 = ends_of(pose, arm.pairs[row, 0])
        s, t = closest_on_segments(i0, i1, k0, k1)
        for i in range(3):
            point[i] = k0[i] + t * (k1[i] - k0[i])
            n[i] = point[i] - (i0[i] + s * (i1[i] - i0[i]))
        length = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        if length > TOUCH:
            for i in range(3):
                n[i] /= length
        else:
            n[0], n[1], n[2] = 0.0, 0.0, 1.0
        support += max(dot(n, i0), dot(n, i1))
    return min(dot(n, k0), dot(n, k1)) - support, support
