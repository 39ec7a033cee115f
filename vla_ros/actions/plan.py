"""The plan: a timeline with its clock, as the safety filter walks it."""

from __future__ import annotations

import numpy as np

from vla_ros.actions.plan_clock import PlanClock
from vla_ros.actions.timeline import Acceptance, Sample, Timeline
from vla_ros.types import Array, PlanPieces, Trajectory

STANDS = 0.2  # sigma below which the arm all but rests, whatever the plan's own velocity is


class Plan:
    """What is to be executed: chunks come in by `accept`, the filter advances and samples.

    Not thread-safe: `accept` and the filter's `step` belong to one thread.
    """

    def __init__(
        self,
        joints: int,
        held: int = 1,
        clock: PlanClock | None = None,
        lasting: bool = False,
        accel: Array | None = None,
    ) -> None:
        """Make an empty plan.

        Args:
            joints: Columns of every trajectory, the gripper's last.
            held: How many of the last columns are held and never interpolated.
            clock: Of another plan that takes turns with this one; None: a clock of its own.
            lasting: Whether a trajectory holds to its end, without a newer one.
            accel: (n - held,) limits that joins of chunks respect [rad/s^2]; None: none.
        """
        self.clock = PlanClock() if clock is None else clock
        self.lasting = lasting
        self.timeline = Timeline(joints, held, accel)
        self.accepted_at: float | None = None  # [s] ROS time of the last acceptance
        self.refusal: Acceptance | None = None  # of the newest trajectory, if it was refused

    @property
    def stamp(self) -> float | None:
        """Stamp of the chunk in use [s], None for none."""
        return self.timeline.stamp

    @property
    def end(self) -> float:
        """Plan time of the last point [s], -inf when empty."""
        return self.timeline.end

    @property
    def start(self) -> float:
        """Plan time of the first point [s], +inf when empty."""
        return self.timeline.start

    def accept(
        self, trajectory: Trajectory, now: float, reference: Array | None = None
    ) -> Acceptance:
        """Judge a trajectory; a good one replaces what was planned from its first point on.

        Args:
            trajectory: What is to be walked next.
            now: ROS time [s].
            reference: (n,) where the arm is commanded to be [rad], [m]; None: on the plan.
        """
        phi_at_stamp, start = self.clock.at(trajectory.stamp), self._start(reference)
        answer = self.timeline.accept(trajectory, phi_at_stamp, now, self.clock.phi, start)
        self.refusal = None if answer.ok else answer
        if answer.ok:
            self.accepted_at = now
        return answer

    def _start(self, reference: Array | None) -> Array | None:
        """Return from which motion (3, arm) the arm goes on; None: from the plan's.

        Where the filter holds the clock, in front of a body, the plan of before is stale: a new
        one that began there would hardly ever come to where the arm is.
        """
        if reference is None or self.clock.rate >= STANDS:
            return None
        place = reference[: self.timeline.arm]
        return np.stack((place, np.zeros_like(place), np.zeros_like(place)))

    def refuse(self, refusal: Acceptance) -> None:
        """Drop the plan, for a reason that this class does not know."""
        self.timeline.clear()
        self.accepted_at, self.refusal = None, refusal

    def advance(self, now: float, rate: float, dt: float) -> float:
        """Advance the plan clock and return Phi(now) [s]."""
        return self.clock.advance(now, rate, dt)

    @property
    def pieces(self) -> PlanPieces:
        """The plan as cubics over plan time; a new object whenever it changes."""
        return self.timeline.pieces

    def sample(self, phi: float) -> Sample:
        """Return the plan at plan time `phi` [s]."""
        return self.timeline.sample(phi)

    def reset(self, now: float) -> None:
        """Drop the plan and refuse what was observed up to `now` [s]."""
        self.timeline.reset(now)
        self.clock.restart(now)
        self.accepted_at = None
        self.refusal = None
