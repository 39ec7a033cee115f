"""A recording replayed through the graph in shadow: what the robot would have done.

The recording's clock drives the policy and the safety filter. The arm follows the filter
without lag. Every chunk answers an observation of the recording and so leads the arm back to it;
how far it had gone is the divergence. Where an instruction begins, an arm that is elsewhere is
put where the recording has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_ros.actions.decode import Hand
from vla_ros.errors import ReplayError
from vla_ros.evaluation.replay.injection import Injection
from vla_ros.evaluation.replay.pipeline import Pipeline
from vla_ros.evaluation.replay.tally import Tally
from vla_ros.evaluation.replay.track import Picture, Track
from vla_ros.nodes.loading import Loaded
from vla_ros.policies.base import chunk_seed
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.result import SafetyResult
from vla_ros.safety.sources import SceneSpec, Worlds
from vla_ros.status import RunCode
from vla_ros.types import Array, JointState, Provenance, Trajectory

ELSEWHERE = 0.05  # [m] of the tool, when an instruction begins


@dataclass(frozen=True)
class Divergence:
    """How far the shadow's reference was from the recorded joints when a chunk arrived."""

    times: Array  # (K,) [s]
    angles: Array  # (K,) [rad] of the joint that is farthest
    distances: Array  # (K,) [m] of the tool

    def figures(self) -> dict[str, float | None]:
        """Return mean and largest, by the keys of `vla replay --json`."""
        if not len(self.times):
            return dict.fromkeys(('mean_rad', 'max_rad', 'mean_mm', 'max_mm'))
        angles, distances = self.angles, 1e3 * self.distances
        return {
            'mean_rad': float(angles.mean()), 'max_rad': float(angles.max()),
            'mean_mm': float(distances.mean()), 'max_mm': float(distances.max()),
        }  # fmt: skip


@dataclass(frozen=True)
class Shadow:
    """What a replay through the graph showed."""

    figures: dict[str, Any]
    tally: Tally
    divergence: Divergence
    sent: tuple[Trajectory, ...]  # the policy's chunks


class Replay:
    """A recording in place of cameras, joints and controllers."""

    def __init__(self, track: Track, worlds: Worlds, hands: Sequence[Hand], period: float) -> None:
        """Stand at the beginning.

        Args:
            track: The recording.
            worlds: Turns its obstacles into the filter's world.
            hands: The arms of its robot.
            period: Of the ticks [s].
        """
        self._track, self._worlds, self._hands = track, worlds, hands
        self.tally = Tally(track.robot, period)
        self.sent_chunks: list[Trajectory] = []
        self._gaps: list[tuple[float, float, float]] = []
        self.restarts = 0
        self._reference: JointState | None = None
        self._next = dict.fromkeys(('joints', 'sentence', 'solids'), 0)
        self._pictures: Iterator[Picture] | None = None
        self._picture: Picture | None = None

    def feed(self, pipeline: Pipeline, now: float) -> None:
        """Give the pipeline what arrived up to `now` [s]."""
        track, at = self._track, self._next
        motion = track.joints
        while at['joints'] < len(motion.arrived) and motion.arrived[at['joints']] <= now:
            state = motion.state(at['joints'])
            at['joints'] += 1
            self._worlds.put_joints(state.stamp, state.position)
            pipeline.joints(state)
        if self._pictures is None:
            self._pictures = iter(track.pictures(pipeline.cameras))
            self._picture = next(self._pictures, None)
        while self._picture is not None and self._picture.arrived <= now:
            picture, self._picture = self._picture, next(self._pictures, None)
            pipeline.picture(picture.camera, picture.stamp, picture.message)
        while at['solids'] < len(track.solids) and track.solids[at['solids']].arrived <= now:
            solids = track.solids[at['solids']]
            at['solids'] += 1
            self._worlds.put(solids.stamp, solids.frame, solids.obstacles, now)
        pipeline.control.put_world(self._worlds.world)
        sentences = track.sentences
        while at['sentence'] < len(sentences) and sentences[at['sentence']].time <= now:
            text = sentences[at['sentence']].text
            at['sentence'] += 1
            self._begin(pipeline, text, now)

    def _begin(self, pipeline: Pipeline, text: str, now: float) -> None:
        gap = self._gap(now)
        if text and gap is not None and gap[1] > ELSEWHERE:
            pipeline.control.start()
            self._reference = None
            self.restarts += 1
        pipeline.tell(text)

    def state(self, now: float) -> JointState:
        """Return the filter's own reference; before there is one, the recorded joints."""
        if self._reference is None:
            index = max(0, self._next['joints'] - 1)
            first = self._track.joints.state(index)
            return JointState(now, first.position, first.velocity)
        return JointState(now, self._reference.position, self._reference.velocity)

    def command(self, result: SafetyResult, dt: float) -> None:
        """Follow a command without lag."""
        if result.command is not None:
            command = result.command
            self._reference = JointState(
                command.stamp + dt, command.positions[0], command.velocities[0]
            )

    def tick(self, pipeline: Pipeline, result: SafetyResult) -> None:
        """Count a tick."""
        self.tally.tick(pipeline, result)

    def sent(self, pipeline: Pipeline, trajectory: Trajectory, origin: Provenance | None) -> None:
        """Count a chunk and note how far the reference is from the recording."""
        self.tally.sent(pipeline, trajectory, origin)
        gap = self._gap(pipeline.time)
        if origin is not None:
            self.sent_chunks.append(trajectory)
            if gap is not None:
                self._gaps.append((pipeline.time, *gap))

    def _gap(self, now: float) -> tuple[float, float] | None:
        """Return how far the reference is from the recorded joints [rad], the tool [m]."""
        dof = self._track.robot.dof
        there = self._track.joints.at(np.array(now))[:dof]
        if self._reference is None or np.isnan(there).any():
            return None
        here = self._reference.position[:dof]
        tools = [np.linalg.norm(h.place(here) - h.place(there)) for h in self._hands]
        return float(np.abs(here - there).max()), float(max(tools))

    @property
    def divergence(self) -> Divergence:
        """How far the reference was from the recording at each chunk."""
        rows = np.array(self._gaps) if self._gaps else np.zeros((0, 3))
        return Divergence(*rows.T)


def replay(
    track: Track,
    loaded: Loaded,
    safety: SafetyConfig,
    scene: SceneSpec,
    injection: Injection,
    seed: int | None = None,
    progress: Any = lambda share: None,
) -> Shadow:
    """Replay a recording through policy and safety filter.

    Args:
        track: The recording.
        loaded: The policy.
        safety: Settings of the filter.
        scene: What stands around the arm.
        injection: What happens to messages and to the model's time.
        seed: Of the policy side; None: as the recorded policy drew, else 0.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        ReplayError: There are no joints or no instruction.
    """
    require(track)
    worlds = Worlds(track.robot, scene, safety)
    hands = tuple(loaded.executor.codec.hands.values())
    arm = Replay(track, worlds, hands, safety.period)
    start = float(track.joints.arrived[0])

    def seeds(number: int) -> int:
        drawn = track.instruction_seed(pipeline.time) if seed is None else None
        return chunk_seed(seed or 0, number) if drawn is None else drawn

    pipeline = Pipeline(track.robot, loaded, safety, track.read, arm, arm, injection, seeds, start)
    for mark in np.linspace(start, track.end, max(2, int(track.seconds) + 1))[1:]:
        pipeline.run(float(mark))
        progress((mark - start) / max(track.end - start, 1e-9))
    session, divergence = pipeline.inference.session, arm.divergence
    errors = [end.message for end in session.endings if end.code is RunCode.POLICY_ERROR]
    figures = {
        **arm.tally.figures(),
        'recorded_intervention_rate': recorded_rate(track),
        'divergence': {**divergence.figures(), 'restarts': arm.restarts},
        'lost_messages': dict(sorted(pipeline.lost.items())),
        'policy_errors': errors,
        'policy_error_count': len(errors),
        'safety_stops': sum(end.code is RunCode.SAFETY_STOP for end in session.endings),
    }
    return Shadow(figures, arm.tally, divergence, tuple(arm.sent_chunks))


def recorded_rate(track: Track) -> float | None:
    """Return the share of ticks at which the recorded filter acted; None if it does not say.

    As in a tally, ticks count from an instruction's first chunk to its end.
    """
    times = [at for at, _ in track.safety]
    ticks = acted = 0
    ends = (*(sentence.time for sentence in track.sentences[1:]), track.end)
    for sentence, end in zip(track.sentences, ends):
        first = next((c.arrived for c in track.chunks if sentence.time < c.arrived < end), end)
        inside = track.safety[bisect_left(times, first) : bisect_left(times, end)]
        if sentence.text and len(inside) > 1:
            (_, one), (_, other) = inside[0], inside[-1]
            ticks += other.ticks - one.ticks
            acted += other.filtered_ticks + other.braked_ticks
            acted -= one.filtered_ticks + one.braked_ticks
    return acted / ticks if ticks > 0 else None


def require(track: Track) -> None:
    """Check that a recording can be replayed.

    Raises:
        ReplayError: There are no joints or no instruction.
    """
    if not len(track.joints.stamps):
        raise ReplayError(
            f'{track.name} has no joint states of robot {track.robot.name}: compare its topics '
            'with the robot file.'
        )
    if not any(sentence.text for sentence in track.sentences):
        raise ReplayError(f'{track.name} has no instruction: give one with --instruction.')
