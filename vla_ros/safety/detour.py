"""The way around a body: along it, on one side, until the wanted way is free; compiled.

What a program finds tick by tick ends where the wanted way points straight into a body: to either
side it would lose as much as it gains. Whoever keeps to one side comes around (the rule of the
Bug algorithms, Lumelsky and Stepanov 1987).
"""

from __future__ import annotations

import math

from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import clearance, row_bodies, TARGET
from vla_ros.safety.soft import tool_rows

SPEED = 0.15  # [m/s] of the tool along the body
PULL = 0.3  # of what else is wanted: with all of it the arm only presses on the body
STEEP = 0.3  # level part of a normal: with less the body is below or above the arm
STUCK = 0.2  # of the speed: slower is no way
PATIENCE = 1.0  # [s] without a way, before the next one is tried
LEAST = 1e-6  # [m^2/rad^2] of a row: an arm so stretched cannot go there
SIDE, OTHER_SIDE, OVER = range(3)  # the ways, in the order in which they are tried


@compiled
def go_aside(arm, solids, v, count, dt, knobs, work):
    """Let the tool of an arm go along the body that is most in the way of `desired`.

    With n the normal of the body, made level, the tool's speed along +-z x n, or upwards, becomes
    SPEED; of the rest of `desired` PULL stays. The program keeps clear of bodies afterwards.

    Args:
        arm: Constants of the arm.
        solids: Obstacles; those that may be touched are no reason to go aside.
        v: (n,) [rad/s] of the step before.
        count: Rows of the program.
        dt: [s].
        knobs: Settings.
        work: Buffers; `detour` is the sign of the first side, 0 for none yet, the way, and for how
            long [s] there was none.
    """
    blocked = blocking_row(arm, solids, count, work)
    if blocked < 0:
        return
    normal = work.scratch[0]
    clearance(arm, solids, work.pose, work.which[blocked], normal, work.scratch[1])
    level = math.hypot(normal[0], normal[1])
    if level < STEEP:
        return
    tx, ty = -normal[1] / level, normal[0] / level
    x, y, z = work.gram[0], work.gram[1], work.gram[2]
    capsule, _, _ = row_bodies(arm, work.which[blocked])
    chain = 0
    while arm.chains[chain, 0] != arm.first[capsule]:
        chain += 1
    tool_rows(arm, work.pose, chain, 0, x)
    tool_rows(arm, work.pose, chain, 1, y)
    tool_rows(arm, work.pose, chain, 2, z)
    if work.detour[0] == 0.0:
        wanted = 0.0
        for j in range(len(v)):
            wanted += (tx * x[j] + ty * y[j]) * work.desired[j]
        work.detour[0] = 1.0 if wanted >= 0.0 else -1.0
    way = int(work.detour[1])
    side = work.detour[0] if way == SIDE else -work.detour[0]
    size = wanted = speed = 0.0
    for j in range(len(v)):
        work.spare[j] = z[j] if way == OVER else side * (tx * x[j] + ty * y[j])
        size += work.spare[j] * work.spare[j]
        wanted += work.spare[j] * work.desired[j]
        speed += work.spare[j] * v[j]
    pace = SPEED * knobs.scale
    work.detour[2] = max(0.0, work.detour[2] + (dt if speed < STUCK * pace else -dt))
    if work.detour[2] > PATIENCE:
        work.detour[1], work.detour[2] = (way + 1) % 3, 0.0
    if size > LEAST:
        more = (pace - PULL * wanted) / size
        for j in range(len(v)):
            work.desired[j] = PULL * work.desired[j] + more * work.spare[j]


@compiled
def blocking_row(arm, solids, count, work):
    """Return the row of an obstacle that `desired` breaks most, -1 for none."""
    first = len(arm.pairs) + len(arm.above_floor)
    worst, blocking = 0.0, -1
    for r in range(count):
        row = work.which[r]
        if row < first or solids.role[(row - first) // len(arm.moving)] == TARGET:
            continue
        room = -work.bound[r]
        for j in range(len(work.desired)):
            room += work.g[r, j] * work.desired[j]
        if room < worst:
            worst, blocking = room, r
    return blocking
