"""Open loop: the policy answers every recorded observation, and nothing comes of it.

Where the recording has the chunks of a policy with the same inputs, the same observations are
answered: the pictures by their stamps, the joints as far as they had arrived, with the seed and
the prefix of then. Else the policy is asked whenever it would ask, at its own rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from time import perf_counter

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.evaluation.replay.pipeline import MAX_AGE
from vla_ros.evaluation.replay.shadow import require
from vla_ros.evaluation.replay.track import Chunk, Track
from vla_ros.nodes.loading import Loaded
from vla_ros.nodes.observation import Assembled, Assembler, interpolate, JOINTS
from vla_ros.nodes.session import Session
from vla_ros.policies.base import ask, chunk_seed
from vla_ros.types import Array, Frame, JointState, Observation, Trajectory

AHEAD = 1000  # inferences of an instruction that are made up for at most
WORST = 3  # observations that are kept for their error
WINDOW = 64  # joint states around a stamp that are looked at


@dataclass(frozen=True)
class Question:
    """One recorded observation."""

    observation: Observation
    chunk: Chunk | None = None  # that the recorded policy answered


@dataclass(frozen=True)
class Prediction:
    """One answer."""

    observation: Observation  # without pictures
    trajectory: Trajectory | None  # None: it could not be used
    chunk: Chunk | None  # that the recorded policy answered
    error: str = ''
    actions: Array | None = None  # (T, A) as the policy answered; None: it did not


@dataclass
class Answers:
    """What a policy answered to a recording."""

    predictions: list[Prediction]
    kept: list[Observation]  # a few, with pictures
    worst: list[tuple[float, Observation]]  # [rad] mean error, with pictures; the largest first
    model_seconds: float  # [s] of wall time inside the policy
    wall_seconds: float  # [s] in all


def answer(
    track: Track,
    loaded: Loaded,
    seed: int | None,
    keep: int = 12,
    progress: Callable[[float], None] = lambda share: None,
) -> Answers:
    """Let a policy answer a recording.

    Args:
        track: The recording.
        loaded: The policy.
        seed: Of the policy side; None: as the chunks were drawn, else 0.
        keep: How many observations are kept with their pictures, evenly spread over time.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        ReplayError: There are no joints or no instruction.
    """
    require(track)
    cameras = {image.camera for image in loaded.policy.spec.images}
    recorded = [chunk for chunk in track.chunks if _answers(chunk, cameras)]
    questions = _recorded(track, cameras, recorded) if recorded else _asked(track, loaded)
    asker = _Asker(track, loaded, seed)
    answers = Answers([], [], [], 0.0, 0.0)
    every = track.seconds / max(keep, 1)
    begin = perf_counter()
    for question in questions:
        t0 = perf_counter()
        prediction = asker.ask(question)
        answers.model_seconds += perf_counter() - t0
        answers.predictions.append(prediction)
        worst = [*answers.worst, (_error(track, prediction), question.observation)]
        answers.worst = sorted(worst, key=lambda pair: -pair[0])[:WORST]
        if question.observation.stamp >= track.start + len(answers.kept) * every:
            answers.kept.append(question.observation)
        progress((question.observation.stamp - track.start) / max(track.seconds, 1e-9))
    answers.wall_seconds = perf_counter() - begin
    return answers


def _error(track: Track, prediction: Prediction) -> float:
    """Return the mean error of one answer's arm joints [rad]; 0 where it has none."""
    trajectory = prediction.trajectory
    if trajectory is None:
        return 0.0
    error = trajectory.positions - track.joints.at(trajectory.stamp + trajectory.times)
    error = error[~np.isnan(error).any(axis=1), :-1]
    return float(np.abs(error).mean()) if len(error) else 0.0


def _answers(chunk: Chunk, cameras: set[str]) -> bool:
    """Whether a recorded chunk says which pictures it answered, and they are the policy's."""
    return chunk.provenance is not None and cameras <= set(chunk.provenance.input_stamps)


def _recorded(track: Track, cameras: set[str], chunks: list[Chunk]) -> Iterator[Question]:
    """Return the observations that the recorded chunks answered, as their pictures come."""
    wanted: dict[tuple[str, int], int] = {}  # how many chunks need a picture
    for chunk in chunks:
        for key in _keys(chunk, cameras):
            wanted[key] = wanted.get(key, 0) + 1
    have: dict[tuple[str, int], Frame] = {}
    waiting = list(reversed(chunks))
    for picture in track.pictures(cameras):
        key = (picture.camera, _key(picture.stamp))
        if key in wanted and key not in have:
            have[key] = track.read(picture.message)
        while waiting and all(k in have for k in _keys(waiting[-1], cameras)):
            yield _question(track, cameras, waiting.pop(), have)
        if waiting and picture.arrived > waiting[-1].arrived + MAX_AGE:
            waiting.pop()  # a picture that it saw is not in the recording
        needed = {k for chunk in waiting[-4:] for k in _keys(chunk, cameras)}
        oldest = min((k[1] for k in needed), default=0)
        have = {k: frame for k, frame in have.items() if k[1] >= oldest}
    if not cameras:
        for chunk in chunks:
            yield _question(track, cameras, chunk, {})


def _keys(chunk: Chunk, cameras: set[str]) -> list[tuple[str, int]]:
    assert chunk.provenance is not None, 'checked by _answers'
    stamps = chunk.provenance.input_stamps
    return [(camera, _key(stamps[camera])) for camera in sorted(cameras)]


def _key(stamp: float) -> int:
    """Return a stamp as a key [us]."""
    return round(stamp * 1e6)


def _question(
    track: Track, cameras: set[str], chunk: Chunk, have: dict[tuple[str, int], Frame]
) -> Question:
    origin, stamp = chunk.provenance, chunk.trajectory.stamp
    assert origin is not None, 'checked by _answers'
    frames = {camera: have[camera, _key(origin.input_stamps[camera])] for camera in cameras}
    newest = origin.input_stamps.get(JOINTS, math.inf)
    joints = _joints(track, stamp, newest)
    return Question(Observation(stamp, frames, joints, origin.instruction), chunk)


def _joints(track: Track, stamp: float, newest: float) -> JointState:
    """Return the joints at a stamp as they were known when those up to `newest` had come."""
    motion = track.joints
    end = int(np.searchsorted(motion.stamps, newest + 1e-6, side='right'))
    middle = int(np.searchsorted(motion.stamps[:end], stamp))
    span = range(max(0, middle - WINDOW), min(end, middle + WINDOW))
    history = [motion.state(k) for k in span] or [motion.state(0)]
    found = interpolate(history, stamp)
    return found if found is not None else history[0]


def _asked(track: Track, loaded: Loaded) -> Iterator[Question]:
    """Return the observations that the policy would ask for, at its own rate."""
    spec = loaded.policy.spec
    cameras = [image.camera for image in spec.images]
    assembler = Assembler(cameras, track.read, MAX_AGE, spec.alignment, spec.alignment_tolerance)
    motion, fed, after, due = track.joints, 0, -math.inf, -math.inf
    for now in _moments(track, cameras, assembler):
        while fed < len(motion.arrived) and motion.arrived[fed] <= now:
            assembler.add_joints(motion.state(fed), float(motion.arrived[fed]))
            fed += 1
        text = track.instruction(now)
        if not text or now < due - 1e-9:
            continue
        inputs = assembler.assemble(text, now, after)
        if isinstance(inputs, Assembled):
            after, due = inputs.observation.stamp, now + spec.replan_steps * spec.step
            yield Question(inputs.observation)


def _moments(track: Track, cameras: list[str], assembler: Assembler) -> Iterator[float]:
    """Return when something arrived that may complete an observation; pictures are added."""
    if not cameras:
        yield from map(float, track.joints.arrived)
    for picture in track.pictures(cameras):
        assembler.add_picture(picture.camera, picture.stamp, picture.message, picture.arrived)
        yield picture.arrived


class _Asker:
    """Puts questions to a policy as the policy side would, with the plan as it was recorded."""

    def __init__(self, track: Track, loaded: Loaded, seed: int | None) -> None:
        self._policy, self._executor = loaded.policy, loaded.executor
        self._track, self._seed = track, seed
        self._session = Session(loaded.policy.spec)
        self._heard = 0  # execution states
        self._number, self._index = 0, 0
        self._instruction = (0, '')
        self._executor.reset()
        self._executor.delay.reset()
        self._executor.expect(0.0)

    def ask(self, question: Question) -> Prediction:
        """Return the answer to one question."""
        obs, chunk = question.observation, question.chunk
        self._reset(obs, chunk)
        seen = Observation(obs.stamp, {}, obs.joints, obs.instruction)
        arrived = chunk.arrived if chunk else obs.stamp
        try:
            origin = chunk.provenance if chunk else None
            own = origin is not None and origin.policy == self._policy.spec.name
            prefix = origin.prefix if origin is not None and own else None
            self._index += 1
            answers = ask(self._policy, obs, self._executor.samples, prefix)
            begun, phi = self._clock(obs.stamp, arrived)
            if origin is not None and own and origin.plan_clock is not None:
                begun, phi = origin.plan_clock  # a step may be due between then and the arrival
            sent = self._executor.send(answers, obs.joints, begun, phi)
        except PolicyError as error:
            return Prediction(seen, None, chunk, str(error))
        return Prediction(seen, sent.trajectory, chunk, actions=answers[sent.choice].actions)

    def _reset(self, obs: Observation, chunk: Chunk | None) -> None:
        """Begin an instruction, and draw as the recorded policy did, or by a seed of its own."""
        origin = chunk.provenance if chunk else None
        seeded = self._seed is None and origin is not None
        key = (origin.instruction_id if origin else 0, obs.instruction)
        if key != self._instruction:
            self._instruction, self._index = key, 0
            self._number = key[0] or self._number + 1
            self._executor.reset()
            seed = chunk_seed(self._seed or 0, self._number)
            if seeded and origin is not None:
                seed = origin.instruction_seed
            self._policy.reset(obs.instruction, seed=seed)
        if seeded and origin is not None:
            for _ in range(min(origin.inference - self._index, AHEAD)):
                self._policy.infer(obs, None)  # what it answered then was discarded
            self._index = max(self._index, origin.inference)

    def _clock(self, stamp: float, now: float) -> tuple[float, float]:
        """Return the plan clock at two times, and without one forget the plan."""
        self._hear(now)
        begun, phi = self._session.plan_clock(stamp), self._session.plan_clock(now)
        if begun is None or phi is None:
            self._executor.reset()
            return 0.0, 0.0
        return begun, phi

    def _hear(self, now: float) -> None:
        """Take the execution states that had arrived."""
        states = self._track.execution
        while self._heard < len(states) and states[self._heard][0] <= now:
            state = states[self._heard][1]
            self._session.executed(state)
            if state.joint_names:
                self._executor.executed(state.plan_clock, state.reference_position)
            self._heard += 1
