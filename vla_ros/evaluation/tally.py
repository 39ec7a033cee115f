"""What one episode of a rollout shows, counted while it is played."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.evaluation.metrics import DEADLOCK, NEAR, Outcome
from vla_ros.safety.result import SafetyResult
from vla_ros.sim.layout import SHAPES
from vla_ros.sim.scene import TABLE
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode

FAILURES = 3  # inferences in a row without a trajectory, then the policy is not asked again
REST = 0.005  # [rad/s] of every joint: slower is at rest


class Tally:
    """Counts what an episode shows."""

    def __init__(self, episode: Episode, instruction: str, table: Tabletop) -> None:
        """Begin an episode.

        Args:
            episode: What is asked.
            instruction: As the policy is given it.
            table: Laid for the episode.
        """
        self.episode, self.instruction = episode, instruction
        self._table, self._hazard = table, table.world.hazard
        self._places = table.world.hazard_positions()
        self._touching, self._struck = False, {False: False, True: False}  # by: the arm rested
        self._rests, self._moved, self._gap = True, 0.0, math.inf
        self._resting, self._deadlock = 0.0, False  # [s] held at rest by now
        self._stalled = 0.0  # [s] at the end of the plan, waiting for the next chunk
        self.chunks = 0
        self.finished = 0  # requests
        self.error = ''  # the last one
        self.failures = 0  # inferences in a row that gave no trajectory
        self._first: str | None = None
        self._collision = False
        self._ticks = [0, 0, 0]  # all, S1, S2 and above
        self._level = 0
        self._barrier = math.inf

    def failed(self, error: PolicyError) -> None:
        """Note an inference that gave no trajectory."""
        self.error, self.failures = str(error), self.failures + 1

    def guarded(self, result: SafetyResult, dt: float, over: bool) -> None:
        """Note what the safety filter did in a control tick of dt [s]; over: at the plan's end."""
        level = int(result.level)
        # Once the policy has been given up, nothing is waited for.
        self._stalled += dt if over and self.failures < FAILURES else 0.0
        self._rests = float(np.abs(result.filtered_velocity).max()) < REST
        coming = self._hazard is not None and self._table.world.time < self._hazard.end
        still = level > 0 and self._rests and not coming  # what goes again may be waited for
        self._resting = self._resting + dt if still else 0.0
        self._deadlock |= self._resting > DEADLOCK
        self._ticks[0] += 1
        self._ticks[1] += level == 1
        self._ticks[2] += level >= 2
        self._level = max(self._level, level)
        self._barrier = min(self._barrier, result.min_barrier)

    def watch(self) -> None:
        """Look for contact with the hazard; a target counts while the arm touches it too.

        Whether the arm was at rest is asked when a contact begins.
        """
        if self._hazard is None:
            return
        world, target = self._table.world, self.episode.target_shape
        touched = False
        for body, gap in world.hazard_gaps().items():
            if body == TABLE or (body in world.objects and body != target):
                continue
            if body != target:
                self._gap = min(self._gap, gap)
            if gap <= 0.0:
                touched |= body != target or bool(
                    world.touches(target) - {*world.objects, TABLE, *self._hazard.names}
                )
        if touched and not self._touching:
            self._struck[self._rests] = True
        self._touching = touched
        if self._hazard.motion is None:
            moved = np.linalg.norm(world.hazard_positions() - self._places, axis=1)
            self._moved = max(self._moved, float(moved.max()))

    def judge(self) -> None:
        """Look for the first object that the tool nears, and for contact with the table."""
        table = self._table
        if self._first is None:
            distances = table.surface_distances()
            if distances.min() <= NEAR:
                self._first = SHAPES[int(distances.argmin())]
        if not self._collision:
            objects = table.world.objects
            self._collision = bool(table.world.touches(TABLE) - set(objects))

    def outcome(self, success: bool, seconds: float, step: float) -> Outcome:
        """Return what was seen of an episode that lasted so long [s], in policy steps [s]."""
        return Outcome(
            task=', '.join(request.task for request in self.episode.requests),
            instruction=self.instruction,
            seed=self.episode.seed,
            success=success,
            seconds=seconds,
            steps=math.ceil(seconds / step),
            chunks=self.chunks,
            first_object=self._first,
            named_object=self.episode.target_shape,
            collision=self._collision,
            control_ticks=self._ticks[0],
            filtered_ticks=self._ticks[1],
            braked_ticks=self._ticks[2],
            max_safety_level=self._level,
            min_barrier=self._barrier,
            hazard=self._hazard.kind if self._hazard else 'none',
            level=self._hazard.level if self._hazard else 0,
            contact=any(self._struck.values()),
            struck_moving=self._struck[False],
            displaced=self._moved,
            min_distance=self._gap if math.isfinite(self._gap) else None,
            deadlock=self._deadlock,
            stall_seconds=self._stalled,
            error=self.error if self.failures >= FAILURES else '',
            requests=len(self.episode.requests),
            finished=self.finished,
        )
