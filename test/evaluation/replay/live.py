"""A simulated arm behind the same pipeline: the live counterpart of a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
import math

import numpy as np

from vla_ros import config, paths
from vla_ros.evaluation.replay.injection import Injection
from vla_ros.evaluation.replay.pipeline import Pipeline
from vla_ros.evaluation.replay.tally import Tally
from vla_ros.evaluation.replay.track import Chunk, Motion, Picture, Sentence, Track
from vla_ros.nodes.loading import load, Loaded
from vla_ros.policies.base import chunk_seed
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety.config import load_safety, SafetyConfig
from vla_ros.safety.result import Level
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode
from vla_ros.spec import PolicySpec
from vla_ros.status import ExecutionState, SafetyStatus
from vla_ros.types import Frame, JointState

START = 1000.0  # [s] of the clock
TRANSPORT = 0.01  # [s] from a picture to its arrival
SETTLE = 0.5  # [s] before the instruction
FRAMES = 15.0  # [Hz]
SIZE = 160, 120  # [px]


@dataclass(frozen=True)
class Kit:
    """A robot, the settings of its filter and a policy, loaded once."""

    robot: RobotSpec
    safety: SafetyConfig
    loaded: Loaded


def kit(policy: str, **changes: object) -> Kit:
    robot = load_robot(paths.find('robots', 'panda'))
    safety = load_safety(paths.find('safety', 'default'))
    spec = replace(config.load(paths.find('policies', policy), PolicySpec), **changes)
    return Kit(robot, safety, load(spec, robot))


class Live:
    """MuJoCo where a replay has a recording; keeps what it showed."""

    def __init__(
        self, kit: Kit, table: Tabletop, episode: Episode, later: tuple[Sentence, ...] = ()
    ) -> None:
        self.table, self._robot = table, kit.robot
        self.sentences = (Sentence(START + SETTLE, episode.instruction), *later)
        table.reset(episode)
        self.tally = Tally(kit.robot, kit.safety.period)
        self._time, self._steps = START, 0
        self._told, self._frame = 0, 0
        self._pictures: list[Picture] = []  # on their way
        self.pictures: list[Picture] = []
        self.states: list[JointState] = []
        self.sends: list[Chunk] = []
        self.execution: list[tuple[float, ExecutionState]] = []
        self.safety: list[tuple[float, SafetyStatus]] = []
        self._ticks = 0
        self._levels: Counter[int] = Counter()

    def feed(self, pipeline, now):
        state = self.state(now)
        self.states.append(state)
        pipeline.joints(state)
        if now >= START + self._frame / FRAMES - 1e-9:
            self._frame += 1
            for name in ('scene', 'wrist'):
                image = self.table.world.render(name, *SIZE)
                frame = Frame(now, image)
                self._pictures.append(Picture(name, now, now + TRANSPORT, frame))
        while self._pictures and self._pictures[0].arrived <= now:
            picture = self._pictures.pop(0)
            self.pictures.append(picture)
            pipeline.picture(picture.camera, picture.stamp, picture.message)
        for sentence in self.sentences[self._told : self._told + 1]:
            if now >= sentence.time:
                self._told += 1
                pipeline.tell(sentence.text)

    def state(self, now):
        return replace(self.table.world.joint_state(), stamp=now)

    def command(self, result, dt):
        world = self.table.world
        if result.command is not None:
            place = result.command.positions[0]
            world.set_command(place[:-1], float(place[-1]), over=dt)
        timestep = world.model.opt.timestep
        self._time += dt
        goal = round((self._time - START) / timestep - 1e-9)
        world.step((goal - self._steps) * timestep)
        self._steps = goal

    def tick(self, pipeline, result):
        self.tally.tick(pipeline, result)
        self._ticks += 1
        self._levels[result.level] += 1
        now = pipeline.time
        if self._ticks % 4 == 0:
            self.execution.append((now, pipeline.control.execution_state(now, result)))
        if self._ticks % 10 == 0:
            status = SafetyStatus(
                now, int(result.level), result.reason, result.message, result.latched,
                min_barrier=result.min_barrier, ticks=self._ticks,
                filtered_ticks=self._levels[Level.S1_FILTERED],
                braked_ticks=sum(n for level, n in self._levels.items() if level > 1),
            )  # fmt: skip
            self.safety.append((now, status))

    def sent(self, pipeline, trajectory, origin):
        self.tally.sent(pipeline, trajectory, origin)
        self.sends.append(Chunk(pipeline.time, trajectory, origin))

    @property
    def chunks(self) -> list[Chunk]:
        """What was sent, but for the empty trajectories that stopped the arm."""
        return [chunk for chunk in self.sends if len(chunk.trajectory.times)]

    def track(self, end: float) -> Track:
        states, pictures = self.states, tuple(self.pictures)

        def source(cameras: Collection[str]) -> Iterator[Picture]:
            return (picture for picture in pictures if picture.camera in cameras)

        stamps = np.array([s.stamp for s in states])
        motion = Motion(
            stamps, np.array([s.position for s in states]),
            np.array([s.velocity for s in states]), stamps,
        )  # fmt: skip
        return Track(
            'live', self._robot, START, end, motion, lambda frame: frame, source,
            self.sentences, tuple(self.sends), tuple(self.execution), tuple(self.safety),
        )  # fmt: skip


def play(
    kit: Kit,
    table: Tabletop,
    episode: Episode,
    injection: Injection,
    seconds: float,
    seed: int,
    later: tuple[Sentence, ...] = (),
) -> Live:
    """Play an episode with the real nodes' code; what it counted and recorded is in the result."""
    arm = Live(kit, table, episode, later)
    pipeline = Pipeline(
        kit.robot, kit.loaded, kit.safety, lambda frame: frame, arm, arm, injection,
        partial(chunk_seed, seed), START,
    )  # fmt: skip
    pipeline.run(START + seconds)
    assert not any(math.isnan(x) for x in arm.states[-1].position)
    return arm
