"""Soft rows of the program: what is preferred, and never in the way of what must be; compiled.

Every tool stays in a workspace, and every arm away from where it cannot move in some direction.
They have a slack of their own, which costs little; no stop is verified against them.
"""

from __future__ import annotations

import math

from vla_ros.safety.certify import SINGULAR_ROW, WORKSPACE_ROW
from vla_ros.safety.chain import forward, tool_place
from vla_ros.safety.compiled import compiled

TURN = 1e-4  # [rad] of a central difference


@compiled
def soft_rows(arm, q, count, knobs, work, pose):
    """Append the soft rows to those of the program; return how many.

    d(q) v >= -gamma d(q), with d the tool's distance from a side of the workspace, or the
    manipulability less the least that is preferred, where it is less than twice that.

    Args:
        arm: Constants of the arm.
        q: (n,) [rad], which `work.pose` is at.
        count: Rows that there are.
        knobs: Settings.
        work: Buffers.
        pose: Buffer.
    """
    n, row = len(q), count
    for chain in range(len(arm.chains)):
        if knobs.bounded:
            low = knobs.low_x, knobs.low_y, knobs.low_z
            high = knobs.high_x, knobs.high_y, knobs.high_z
            for i in range(3):
                place = tool_rows(arm, work.pose, chain, i, work.g[row])
                for j in range(n):
                    work.g[row + 1, j] = -work.g[row, j]
                work.bound[row] = -knobs.gamma * (place - low[i])
                work.bound[row + 1] = -knobs.gamma * (high[i] - place)
                work.which[row] = work.which[row + 1] = WORKSPACE_ROW
                row += 2
        if knobs.singular > 0.0:
            m = manipulability(arm, work.pose, chain, work.gram)
            if m < 2.0 * knobs.singular:
                for j in range(n):
                    work.spare[j] = q[j]
                    work.g[row, j] = 0.0
                for j in range(arm.chains[chain, 0], arm.chains[chain, 1] + 1):
                    work.spare[j] = q[j] + TURN
                    forward(arm, work.spare, pose)
                    more = manipulability(arm, pose, chain, work.gram)
                    work.spare[j] = q[j] - TURN
                    forward(arm, work.spare, pose)
                    less = manipulability(arm, pose, chain, work.gram)
                    work.spare[j] = q[j]
                    work.g[row, j] = (more - less) / (2.0 * TURN)
                work.bound[row] = -knobs.gamma * (m - knobs.singular)
                work.which[row] = SINGULAR_ROW
                row += 1
    return row - count


@compiled
def tool_rows(arm, pose, chain, i, out):
    """Fill dp_i/dq (n,) of the tool centre of a chain; return its coordinate i [m]."""
    p0, p1, p2 = tool_place(arm, pose, chain)
    first, last = arm.chains[chain]
    for j in range(len(pose.axis)):
        if j < first or j > last:
            out[j] = 0.0
            continue
        a, c = pose.axis[j], pose.origin[j]
        r0, r1, r2 = p0 - c[0], p1 - c[1], p2 - c[2]
        if i == 0:
            out[j] = a[1] * r2 - a[2] * r1
        elif i == 1:
            out[j] = a[2] * r0 - a[0] * r2
        else:
            out[j] = a[0] * r1 - a[1] * r0
    return p0 if i == 0 else p1 if i == 1 else p2


@compiled
def manipulability(arm, pose, chain, gram):
    """Return sqrt(det(J J^T)) of the tool, or sqrt(det(J^T J)) with fewer than six joints.

    Yoshikawa (1985). Rows of J: velocity [m/rad], then angular velocity [rad/rad].

    Args:
        arm: Constants of the arm.
        pose: Of the arms.
        chain: Which arm.
        gram: (12, max(n, 6)) buffer; its first six rows get J.
    """
    first, last = arm.chains[chain]
    n = last + 1 - first
    for i in range(3):
        tool_rows(arm, pose, chain, i, gram[i])
        for j in range(n):  # its own columns first; what is read has been shifted already
            gram[i, j] = gram[i, first + j]
            gram[3 + i, j] = pose.axis[first + j, i]
    size = min(n, 6)
    for r in range(size):
        for c in range(r + 1):
            total = 0.0
            if n >= 6:
                for j in range(n):
                    total += gram[r, j] * gram[c, j]
            else:
                for i in range(6):
                    total += gram[i, r] * gram[i, c]
            gram[6 + r, c] = total
    product = 1.0
    for r in range(size):  # Cholesky, in place
        for c in range(r + 1):
            total = gram[6 + r, c]
            for k in range(c):
                total -= gram[6 + r, k] * gram[6 + c, k]
            if r == c:
                if total <= 0.0:
                    return 0.0
                gram[6 + r, r] = math.sqrt(total)
                product *= gram[6 + r, r]
            else:
                gram[6 + r, c] = total / gram[6 + c, c]
    return product
