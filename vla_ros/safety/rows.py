"""The rows of the program: how fast the arm may approach each body, compiled."""

from __future__ import annotations

import math

from vla_ros.safety.chain import forward, gain
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import clearance, row_bodies, row_count


@compiled
def barrier_rate(gap, gamma, brake):
    """Return alpha(gap) [m/s]: the approach speed allowed at h - margin = gap [m].

    alpha(s) = gamma s up to s = a_b / gamma^2, then sqrt(2 a_b (s - a_b / (2 gamma^2))), which
    never asks for more than the braking power a_b [m/s^2]; 0 inside the margin.
    """
    if gap <= 0.0:
        return 0.0
    knee = brake / (gamma * gamma)
    if gap <= knee:
        return gamma * gap
    return math.sqrt(2.0 * brake * (gap - 0.5 * knee))


GLIDE = 0.2  # of a margin, at most `glide`, within which the arm comes no nearer


@compiled
def build_rows(
    arm, solids, q, margins, accel, gamma, reach, glide, pose, h, g, bound, index, scratch
):  # fmt: skip
    """Fill h (K,) and the rows G v >= bound of all that is nearer than `reach`; return how many.

    G_j = n.(axis_j x (point - origin_j)) for the joints that move the capsule against the other
    body, and less the same at its own point for those that move a capsule of another arm;
    bound = -alpha(h - margin - room) + n.(speed of the obstacle at the point). The room,
    min(glide, GLIDE margin), is what a stop needs that begins beside a round body: without it
    an arm that slides along a body would be stopped at every tick. Within it the arm has to move
    out again, at gamma (room - gap): what is lost to curvature would add up.
    """
    forward(arm, q, pose)
    n, point, r = scratch[0], scratch[1], scratch[2]
    fixed_rows = len(arm.pairs) + len(arm.above_floor)
    count = 0
    for row in range(row_count(arm, solids)):
        h[row], _ = clearance(arm, solids, pose, row, n, point)
        if h[row] - margins[row] > reach:
            continue
        capsule, fixed, other = row_bodies(arm, row)
        brake = 0.0
        g[count, :] = 0.0
        for j in range(fixed + 1, arm.capsule_joint[capsule] + 1):
            g[count, j] = gain(pose, j, n, point[0], point[1], point[2])
            brake += 0.5 * abs(g[count, j]) * accel[j]
        if other >= 0:
            apart = h[row] + arm.capsule_radius[capsule] + arm.capsule_radius[other]
            for i in range(3):
                r[i] = point[i] - apart * n[i]
            for j in range(arm.first[other], arm.capsule_joint[other] + 1):
                g[count, j] = -gain(pose, j, n, r[0], r[1], r[2])
                brake += 0.5 * abs(g[count, j]) * accel[j]
        if brake <= 1e-9:  # no joint changes this distance here: nothing to ask for
            continue
        room = max(0.0, min(glide, GLIDE * margins[row]))
        gap = h[row] - margins[row]
        if 0.0 < gap < room:
            bound[count] = gamma * (room - gap)
        else:
            bound[count] = -barrier_rate(gap - room, gamma, brake)
        if row >= fixed_rows:
            solid = (row - fixed_rows) // len(arm.moving)
            v, w = solids.velocity[solid], solids.spin[solid]
            for i in range(3):
                r[i] = point[i] - solids.centre[solid, i]
            bound[count] += (
                n[0] * (v[0] + w[1] * r[2] - w[2] * r[1])
                + n[1] * (v[1] + w[2] * r[0] - w[0] * r[2])
                + n[2] * (v[2] + w[0] * r[1] - w[1] * r[0])
            )
        index[count] = row
        count += 1
    return count
