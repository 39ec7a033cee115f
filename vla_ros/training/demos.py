"""Demonstrations: noisy runs of the scripted experts, written as shards that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from dataclasses import dataclass, fields
import multiprocessing
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import PolicyError
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.sim.experts import plan, STEP
from vla_ros.sim.layout import COLOURS, Layout, SceneObject, SHAPES
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import DIRECTIONS, Episode, sample_episode, SceneState, TASKS
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, Array, JointState

EPISODES_PER_SHARD = 50
FIRST_SEED = 1_000_000  # evaluation uses seeds below this one
MIX = {'reach': 0.10, 'push': 0.18, 'pick': 0.14, 'place': 0.23, 'stack': 0.35}
REPLAN = 2  # steps between two recorded frames
EXTRA_STEPS = 6  # recorded after success, so that the policy learns to stay
DISTURBED = 0.15  # share of segments that run with a wrong target
IMAGE_SIZE = 96  # [px]
CAMERAS = ('scene', 'wrist')
_UNFINISHED = '.part.npz'
TASK_NAMES = tuple(sorted(TASKS))
DIRECTION_NAMES = tuple(sorted(DIRECTIONS))

EXPERT_SPEC = PolicySpec(
    name='expert',
    adapter='expert',
    images=(),
    state=(),
    action=(ActionSlice('tool_position', 'm'), ActionSlice('gripper', 'open_fraction')),
    step=STEP,
    horizon=REPLAN,
    replan_steps=REPLAN,
)


@dataclass(frozen=True)
class Frames:
    """Recorded instants: pictures and the truth that belongs to them. N frames."""

    images: NDArray[np.uint8]  # (N, cameras, size, size, 3)
    tool: Array  # (N, 3) [m]
    opening: Array  # (N,) 0 to 1
    objects: Array  # (N, 3, 3) [m] by SHAPES
    plate: Array  # (N, 2) [m]
    colours: NDArray[np.int8]  # (N, 3) index into COLOURS, by SHAPES
    task: NDArray[np.int8]  # (N,) index into TASK_NAMES
    target: NDArray[np.int8]  # (N,) index into SHAPES
    direction: NDArray[np.int8]  # (N,) index into DIRECTION_NAMES

    def __len__(self) -> int:
        return len(self.tool)

    def part(self, rows: slice) -> Frames:
        """Return some of the frames."""
        return Frames(*(getattr(self, f.name)[rows] for f in fields(Frames)))

    def layout(self, index: int) -> Layout:
        """Return what stood where at one frame."""
        objects = tuple(
            SceneObject(shape, COLOURS[colour], (float(xyz[0]), float(xyz[1])), 0.0)
            for shape, colour, xyz in zip(SHAPES, self.colours[index], self.objects[index])
        )
        return Layout(objects, (float(self.plate[index, 0]), float(self.plate[index, 1])))

    @staticmethod
    def join(parts: list[Frames]) -> Frames:
        """Concatenate frames in order."""
        return Frames(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Frames))
        )


def load_shards(folder: Path) -> Frames:
    """Read every finished shard of a folder."""
    parts = []
    for path in sorted(Path(folder).glob('*.npz')):
        if path.name.endswith(_UNFINISHED):
            continue
        with np.load(path) as data:
            parts.append(Frames(**{f.name: data[f.name] for f in fields(Frames)}))
    return Frames.join(parts)


def save_shard(path: Path, frames: Frames) -> None:
    """Write a shard (.npz): it is there whole or not at all."""
    temporary = path.with_suffix(_UNFINISHED)
    np.savez(temporary, **{f.name: getattr(frames, f.name) for f in fields(Frames)})
    temporary.rename(path)


class Diary:
    """What a policy could have seen of an episode, and the truth of it, instant by instant."""

    def __init__(self) -> None:
        """Begin empty."""
        self._episode: Episode | None = None
        self._seen: list[tuple[NDArray[np.uint8], SceneState]] = []

    def add(self, table: Tabletop) -> SceneState:
        """Keep this instant; returns its truth."""
        self._episode, state = table.episode, table.state()
        images = np.stack([table.square(name, IMAGE_SIZE) for name in CAMERAS])
        self._seen.append((images, state))
        return state

    def frames(self) -> Frames:
        """Return what was kept.

        Raises:
            PolicyError: That is nothing.
        """
        if self._episode is None:
            raise PolicyError('nothing was seen of this episode, expected one instant at least.')
        return _frames(self._episode, self._seen)


def record(folder: Path, shards: int, workers: int) -> Iterator[tuple[int, int]]:
    """Record the shards that a folder still lacks; yields (done, wanted) as it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(shards) if not _path(folder, i).exists()]
    yield shards - len(missing), shards
    context = multiprocessing.get_context('spawn')  # OpenGL contexts do not survive a fork
    pool = ProcessPoolExecutor(max(1, workers), mp_context=context)
    try:
        jobs = [pool.submit(_record_shard, folder, index) for index in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            yield shards - len(missing) + done, shards
    finally:
        pool.shutdown(cancel_futures=True)  # shards in hand are finished, the rest waits


def _path(folder: Path, index: int) -> Path:
    return folder / f'shard_{index:04d}.npz'


def _record_shard(folder: Path, index: int) -> None:
    os.environ.setdefault('MUJOCO_GL', 'egl')
    recorder = _Recorder(load_robot(paths.find('robots', 'panda')))
    rng = np.random.default_rng(index)
    tasks = rng.choice(list(MIX), size=EPISODES_PER_SHARD, p=list(MIX.values()))
    first = FIRST_SEED + index * EPISODES_PER_SHARD
    parts = [
        recorder.run(sample_episode(str(task), first + i), rng) for i, task in enumerate(tasks)
    ]
    save_shard(_path(folder, index), Frames.join(parts))


class _Recorder:
    """Runs experts in one world and keeps what a policy would have seen."""

    def __init__(self, robot: RobotSpec) -> None:
        urdf = robot.urdf_path
        self.env = Tabletop(robot, urdf)
        self.codec = Codec(robot, urdf, EXPERT_SPEC)
        self.robot = robot

    def run(self, episode: Episode, rng: np.random.Generator) -> Frames:
        """Record one episode from a random start, with disturbances."""
        self._start(episode, rng)
        diary, after = Diary(), 0
        for _ in range(int(episode.time_limit / (REPLAN * STEP))):
            state = diary.add(self.env)
            try:
                self._follow(self._disturb(plan(episode, state, REPLAN), rng))
            except PolicyError:
                break  # a disturbance led out of reach: what was seen so far is still right
            after = after + REPLAN if self.env.success() else 0
            if after >= EXTRA_STEPS:
                break
        return diary.frames()

    def _start(self, episode: Episode, rng: np.random.Generator) -> None:
        """Begin near home, or anywhere above the table that touches nothing."""
        home = np.array(self.robot.home)
        centre = self.codec.hand.kinematics.fk(home)[1]
        if rng.random() < 0.5:
            tool = centre + rng.normal(0.0, 0.02, 3)
        else:
            tool = rng.uniform((0.36, -0.24, 0.11), (0.64, 0.24, 0.32))
        opening = 1.0 if rng.random() < 0.7 else rng.random()
        gripper = self.robot.gripper
        finger = gripper.closed + opening * (gripper.open - gripper.closed)
        rest = JointState(0.0, np.append(home, finger), np.zeros(len(home) + 1))
        actions = np.append(tool, opening)[None]
        arm = self.codec.decode(ActionChunk(0.0, actions, STEP), rest).positions[0, :-1]
        self.env.reset(episode, arm, finger)
        self.env.world.step(0.05)

    def _disturb(self, points: Array, rng: np.random.Generator) -> Array:
        if rng.random() < DISTURBED:
            points = points.copy()
            points[:, :3] += rng.normal(0.0, (0.025, 0.025, 0.015))
            points[:, 2] = np.maximum(points[:, 2], 0.018)
            if rng.random() < 0.1:
                points[:, 3] = 1.0 - points[:, 3]
        return points

    def _follow(self, points: Array) -> None:
        joints = self.env.world.joint_state()
        trajectory = self.codec.decode(ActionChunk(joints.stamp, points, STEP), joints)
        for q in trajectory.positions:
            self.env.world.set_command(q[:-1], q[-1], over=STEP)
            self.env.world.step(STEP)


def _frames(episode: Episode, rows: list[tuple[np.ndarray, SceneState]]) -> Frames:
    count = len(rows)
    colours = [COLOURS.index(o.colour) for o in episode.layout.objects]
    direction = [k for k, v in DIRECTIONS.items() if v == episode.direction] or ['left']

    def repeat(value: object) -> NDArray[np.int8]:
        row = np.array(value, dtype=np.int8)
        return np.tile(row, (count,) + (1,) * row.ndim)

    return Frames(
        images=np.stack([images for images, _ in rows]),
        tool=np.stack([s.tool for _, s in rows]),
        opening=np.array([s.opening for _, s in rows]),
        objects=np.stack([s.objects for _, s in rows]),
        plate=np.stack([s.plate for _, s in rows]),
        colours=repeat(colours),
        task=repeat(TASK_NAMES.index(episode.task)),
        target=repeat(episode.target),
        direction=repeat(DIRECTION_NAMES.index(direction[0])),
    )
