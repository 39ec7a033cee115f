"""Speed and separation: how fast the arm may move near a person; compiled.

The protective distance of ISO/TS 15066, 5.5.4.2 (now part of ISO 10218-2:2025), for an arm that
slows down evenly:

    S_p = v_h (T_r + T_s) + v_r T_r + v_r T_s / 2 + C

v_h, v_r: speed of the person and of the arm's fastest point, whatever its direction; T_r, T_s:
time to react and to stop; C: what is not known of either. The filter bounds the speed: a velocity
whose S_p exceeds the distance that there is is refused, unless it is no faster than before.
"""

from __future__ import annotations

import math

from vla_ros.safety.compiled import compiled

NOBODY = math.inf  # [m] distance to a person where there is none
LEAST_ROOM = 1e-13  # [m] beyond what an arm at rest needs; with less, products are lost to zero


@compiled
def fastest_point(arm, pose, v):
    """Return the speed that no point of any capsule exceeds at joint velocities v (n,) [m/s].

    Along a segment the speed is largest at an end; the surface adds radius times |omega|.
    """
    fastest = 0.0
    for c in range(len(arm.capsule_joint)):
        w0 = w1 = w2 = 0.0
        for j in range(arm.first[c], arm.capsule_joint[c] + 1):
            a = pose.axis[j]
            w0, w1, w2 = w0 + v[j] * a[0], w1 + v[j] * a[1], w2 + v[j] * a[2]
        turning = arm.capsule_radius[c] * math.sqrt(w0 * w0 + w1 * w1 + w2 * w2)
        for side in range(2):
            e = pose.ends[c, side]
            x = y = z = 0.0
            for j in range(arm.first[c], arm.capsule_joint[c] + 1):
                a, o = pose.axis[j], pose.origin[j]
                r0, r1, r2 = e[0] - o[0], e[1] - o[1], e[2] - o[2]
                x += v[j] * (a[1] * r2 - a[2] * r1)
                y += v[j] * (a[2] * r0 - a[0] * r2)
                z += v[j] * (a[0] * r1 - a[1] * r0)
            fastest = max(fastest, math.sqrt(x * x + y * y + z * z) + turning)
    return fastest


@compiled
def protective_distance(fast, stop, person, reaction, intrusion):
    """Return S_p [m].

    Args:
        fast: v_r [m/s].
        stop: T_s [s].
        person: v_h [m/s].
        reaction: T_r [s].
        intrusion: C [m].
    """
    return person * (reaction + stop) + fast * (reaction + 0.5 * stop) + intrusion


@compiled
def allowed_share(fast, stop, person, reaction, intrusion, apart):
    """Return the largest share s of a velocity at which S_p is no more than `apart` [m].

    Speed and stopping time both fall with s: v_h (T_r + s T_s) + s v_r T_r + s^2 v_r T_s / 2 + C.
    """
    room = apart - intrusion - person * reaction
    if room < LEAST_ROOM:
        return 0.0
    linear, square = person * stop + fast * reaction, 0.5 * fast * stop
    slope = linear + math.sqrt(linear * linear + 4.0 * square * room)
    return 2.0 * room / slope if slope > 0.0 else math.inf
