"""The timeline: chunks laid on one axis of plan time and interpolated between their points."""

from __future__ import annotations

from dataclasses import dataclass
import enum

import numpy as np

from vla_ros.actions import curve
from vla_ros.actions.join import Curve, lead, TINY
from vla_ros.types import Array, PlanPieces, Trajectory

# Beyond these a value is garbage. The plan clock waits for the arm at every point, so one such
# point would hold up all the good chunks that follow.
FARTHEST = 4.0 * np.pi  # [rad] two turns; metres are smaller
FASTEST = 100.0  # [rad/s]
# A join takes so many steps of the new chunk, or so long [s] if that is less: half as long asks
# for four times the acceleration at the seam, but the points within it are left out.
STEPS, SHORTEST = 2.0, 0.2
GENTLE = 0.5  # of the acceleration limits that a join asks for, where that is possible
FUTURE = 0.05  # [s] a stamp may be this much ahead: clocks reach processes at different times


class Verdict(enum.Enum):
    """What became of a trajectory."""

    ACCEPTED = 'accepted'
    STOP = 'stop'  # accepted; it has no points, so the motion ends here
    SHAPE = 'trajectory_shape'  # not one column for each joint
    NONFINITE = 'trajectory_nonfinite'
    RANGE = 'trajectory_range'  # finite, but nothing that an arm could follow
    TIMES = 'trajectory_times'  # not strictly increasing from 0
    DUPLICATE = 'trajectory_duplicate'
    OUT_OF_ORDER = 'trajectory_out_of_order'
    BEFORE_RESET = 'trajectory_before_reset'
    TOO_OLD = 'trajectory_too_old'  # stamped before the plan clock's history
    FROM_FUTURE = 'trajectory_from_future'
    LATE = 'trajectory_late'  # all of it was due before now
    START_POSE = 'start_pose'  # the first one of its turn, and it begins too far from the arm
    OVERRIDDEN = 'overridden'  # another source has the arm


@dataclass(frozen=True)
class Acceptance:
    """The verdict on one trajectory and its reason in a sentence."""

    verdict: Verdict
    reason: str = ''

    @property
    def ok(self) -> bool:
        """Whether the trajectory is in use now."""
        return self.verdict in (Verdict.ACCEPTED, Verdict.STOP)

    @property
    def fault(self) -> str:
        """The safety filter's fault while nothing better was accepted."""
        return 'start_pose' if self.verdict is Verdict.START_POSE else 'plan_refused'


class Phase(enum.Enum):
    """Where an instant lies on the timeline."""

    EMPTY = 'empty'
    BEFORE = 'before'  # the first point is not due yet
    ON = 'on'
    AFTER = 'after'  # the last point is past: at rest there


@dataclass(frozen=True)
class Sample:
    """The plan at one instant; `position` and `velocity` are zero in phase EMPTY."""

    position: Array  # (n,) [rad] or [m]
    velocity: Array  # (n,) [rad/s] or [m/s] per second of plan time
    phase: Phase


class Timeline:
    """Joint positions over plan time with continuous acceleration, replaced chunk by chunk.

    Cubics lead through the points of a chunk; a join leads from what is walked to the next
    chunk. Held columns (the gripper) keep the value of the last point due.
    """

    def __init__(self, joints: int, held: int = 1, accel: Array | None = None) -> None:
        """Make an empty timeline.

        Args:
            joints: Columns of every trajectory, n.
            held: How many of the last columns are held and never interpolated.
            accel: (n - held,) limits [rad/s^2]; None: joins are as short as they may be.
        """
        self.joints = joints
        self.arm = joints - held  # columns that are interpolated
        self.stamp: float | None = None  # [s] of the chunk in use
        self.phi_at_stamp = 0.0  # [s]
        limits = np.full(self.arm, np.inf) if accel is None else accel
        self._gentle = GENTLE * limits  # [rad/s^2] of a join
        self._after = -np.inf  # [s] stamps up to here are refused
        self._newest = -np.inf  # [s] stamp of the last chunk accepted
        self.clear()

    def clear(self) -> None:
        """Drop all points; stamps seen before stay refused."""
        self.stamp = None
        n = self.joints
        self.pieces = PlanPieces(
            np.zeros(0), np.zeros((0, n)), np.zeros((0, 4, n)), np.zeros((0, n)), np.zeros((0, n))
        )

    def reset(self, now: float) -> None:
        """Drop all points and refuse every stamp up to `now` [s]."""
        self.clear()
        self._after, self._newest = now, -np.inf

    @property
    def start(self) -> float:
        """Plan time of the first point [s], +inf when empty."""
        due = self.pieces.due
        return float(due[0]) if len(due) else np.inf

    @property
    def end(self) -> float:
        """Plan time of the last point [s], -inf when empty."""
        due = self.pieces.due
        return float(due[-1]) if len(due) else -np.inf

    def accept(
        self,
        trajectory: Trajectory,
        phi_at_stamp: float | None,
        now: float,
        phi: float,
        start: Array | None = None,
    ) -> Acceptance:
        """Judge a trajectory and, when it is good, lay it on the axis.

        Args:
            trajectory: Point k is due at plan time `phi_at_stamp + times[k]`.
            phi_at_stamp: Phi(stamp) [s], None where the plan clock has no history.
            now: ROS time [s].
            phi: Phi(now) [s].
            start: (3, arm) position, velocity and acceleration, by plan time, from which the
                arm goes on where it has left the plan; None: it goes on along the plan.
        """
        refusal = self._order(trajectory.stamp, now)
        refusal = refusal or self._content(trajectory)
        if refusal:
            return refusal
        if phi_at_stamp is None:
            return Acceptance(Verdict.TOO_OLD, f'stamp {trajectory.stamp:.3f} s has no history')
        due = phi_at_stamp + trajectory.times
        if len(due) and due[-1] < phi:
            late = phi - due[-1]
            return Acceptance(Verdict.LATE, f'its last point was due {late:.3f} s ago')
        self._newest = trajectory.stamp
        if not len(due):
            self.clear()
            return Acceptance(Verdict.STOP, 'no points: the motion ends here')
        self._lay(trajectory, due, phi, start)
        self.stamp, self.phi_at_stamp = trajectory.stamp, phi_at_stamp
        return Acceptance(Verdict.ACCEPTED)

    def sample(self, phi: float) -> Sample:
        """Return the plan at plan time `phi` [s]: a cubic between points, at rest outside."""
        due, points = self.pieces.due, self.pieces.points
        if not len(due):
            zero = np.zeros(self.joints)
            return Sample(zero, zero, Phase.EMPTY)
        if phi < due[0]:
            return Sample(points[0].copy(), np.zeros(self.joints), Phase.BEFORE)
        if phi >= due[-1]:
            phase = Phase.ON if phi == due[-1] else Phase.AFTER
            return Sample(points[-1].copy(), np.zeros(self.joints), phase)
        i = int(due.searchsorted(phi, side='right')) - 1
        x = phi - due[i]
        c0, c1, c2, c3 = self.pieces.cubics[i]
        position = c0 + x * (c1 + x * (c2 + x * c3))
        velocity = c1 + x * (2.0 * c2 + (3.0 * x) * c3)
        return Sample(position, velocity, Phase.ON)

    def _order(self, stamp: float, now: float) -> Acceptance | None:
        """Judge the stamp: the key of a chunk is strictly increasing and never of the future."""
        if not np.isfinite(stamp):
            return Acceptance(Verdict.NONFINITE, f'stamp is {stamp}')
        if stamp <= self._after:
            return Acceptance(
                Verdict.BEFORE_RESET, f'stamp {stamp:.3f} s, reset {self._after:.3f}'
            )
        if stamp == self._newest:
            return Acceptance(Verdict.DUPLICATE, f'stamp {stamp:.3f} s was accepted before')
        if stamp < self._newest:
            return Acceptance(
                Verdict.OUT_OF_ORDER, f'{stamp:.3f} s is before {self._newest:.3f} s'
            )
        if stamp > now + FUTURE:
            return Acceptance(Verdict.FROM_FUTURE, f'stamp {stamp:.3f} s, now {now:.3f} s')
        return None

    def _content(self, trajectory: Trajectory) -> Acceptance | None:
        """Judge the numbers: one bad value refuses the whole trajectory."""
        times, positions = trajectory.times, trajectory.positions
        if positions.shape[1] != self.joints and len(times):
            found = f'{positions.shape[1]} columns, expected {self.joints}'
            return Acceptance(Verdict.SHAPE, found)
        for name in ('times', 'positions', 'velocities'):
            values = getattr(trajectory, name)
            if values is not None and not np.isfinite(values).all():
                return Acceptance(Verdict.NONFINITE, f'{name} hold a value that is not finite')
        for name, most in (('positions', FARTHEST), ('velocities', FASTEST)):
            values = getattr(trajectory, name)
            values = np.zeros((0, self.arm)) if values is None else values[:, : self.arm]
            worst = float(np.abs(values).max(initial=0.0))
            if worst > most:
                found = f'{name} hold {worst:.4g}, expected {most:.4g} at most: in radians?'
                return Acceptance(Verdict.RANGE, found)
        if len(times) and (times[0] < 0.0 or (np.diff(times) <= 0.0).any()):
            return Acceptance(Verdict.TIMES, 'times must increase strictly from 0 or later')
        return None

    def _lay(self, trajectory: Trajectory, due: Array, phi: float, start: Array | None) -> None:
        """Lead from the old curve, or from where the arm left it, to the new one.

        Acceleration is continuous. The old curve stays up to `phi`, or, if all new points are due
        later, up to its last point before them. From there a join leads to one of the new points:
        the first at which it asks for no more than GENTLE of the arm's limits or than the new
        curve itself, or else the gentlest.
        """
        arm, points, slopes = self.arm, trajectory.positions, trajectory.velocities
        if slopes is None:
            slopes = curve.spline_slopes(due, points)
        new = Curve(due, points[:, :arm], curve.cubics_of(due, points, slopes)[:, :, :arm])
        pieces = self.pieces
        old = Curve(pieces.due, pieces.points[:, :arm], pieces.cubics[:, :, :arm])
        step = due[1] - due[0] if len(due) > 1 else 0.0
        least = min(STEPS * step, SHORTEST) if step else SHORTEST
        ways = []
        if start is not None:
            ways.append(lead(start, new, phi, least, self._gentle))
        elif len(old.due):
            before = old.due[old.due < due[0] - 0.5 * step]
            walked = phi >= old.due[0]
            latest = max(phi, float(before[-1])) if len(before) else phi
            if walked or len(before):
                ways.append(lead(curve.state(*old, latest), new, latest, least, self._gentle))
            if walked and latest > phi and ways[0].effort > 1.0:
                ways.append(lead(curve.state(*old, phi), new, phi, least, self._gentle))
        way = min(ways, key=lambda way: way.effort, default=None)
        if way is None or not np.isfinite(way.effort):  # what is broken must not break the next
            self._set(due, new.points, new.cubics, points[:, arm:])
            return
        first = max(0, int(old.due.searchsorted(phi, side='right')) - 1)
        stop = min(int(old.due.searchsorted(way.due[0] - TINY)), len(old.cubics))
        kept = slice(min(first, stop), stop) if start is None else slice(0, 0)
        times = np.concatenate([old.due[kept], way.due, new.due[way.target + 1 :]])
        grips = points[curve.hold(due, times + TINY), arm:]
        if len(old.due):
            early = (times < due[0] - TINY)[:, None]
            grips = np.where(early, pieces.points[curve.hold(old.due, times + TINY), arm:], grips)
        self._set(
            times,
            np.concatenate([old.points[kept], way.points, new.points[way.target + 1 :]]),
            np.concatenate([old.cubics[kept], way.cubics, new.cubics[way.target :]]),
            grips,
        )

    def _set(self, due: Array, points: Array, cubics: Array, held: Array) -> None:
        """Take new pieces: of the arm (T, arm), (T - 1, 4, arm), of the held columns (T, held)."""
        still = np.zeros((len(cubics), 4, held.shape[1]))
        still[:, 0] = held[:-1]
        cubics = np.concatenate([cubics, still], axis=2)
        points = np.concatenate([points, held], axis=1)
        self.pieces = PlanPieces(due, points, cubics, *curve.peaks(due, cubics))
