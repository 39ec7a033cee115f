"""Episodes of `vla eval --ros`: through the real nodes, in real time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
import math
from pathlib import Path
import time
from typing import TYPE_CHECKING

import numpy as np

from vla_ros import config, paths
from vla_ros.cli.session import Session, session
from vla_ros.errors import NodeError
from vla_ros.evaluation.metrics import NEAR, Outcome
from vla_ros.evaluation.suite import load_suite
from vla_ros.fit import require_fit
from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot
from vla_ros.sim.layout import REST_HEIGHT
from vla_ros.sim.tasks import Episode, surface_distance
from vla_ros.spec import PolicySpec
from vla_ros.status import RunCode
from vla_ros.types import Array

if TYPE_CHECKING:
    from vla_ros.nodes.recorder import Recorder

LOG = Path('out/eval/log.txt')
SETTLE = 0.5  # [s] until the arm rests, and until pictures and joints are those of a new scene
REST = 10.0  # [s] until the safety filter must have come to rest
SLACK = 10.0  # [s] of wall time for the end of an instruction beyond its limit
COLLISION = 'in_collision'  # reason of the safety filter when two bodies touch


def play(
    robot: str, policy: str, safety: str, suite: str, episodes: int, seed: int
) -> Iterator[Outcome]:
    """Start the graph and play episodes, one after another.

    Raises:
        NodeError: A process ended or did not answer.
    """
    arm = load_robot(paths.find('robots', robot))
    spec = config.load(paths.find('policies', policy), PolicySpec)
    require_fit(arm, spec)
    work = load_suite(suite).episodes(episodes, seed)
    arguments: dict[str, str | int] = {
        'robot': robot,
        'policy': policy,
        'safety': safety,
        'suite': suite,
        'task': work[0].task,
        'seed': work[0].seed,
    }
    kinematics = Kinematics(arm.urdf_path, arm.arm_joints, arm.tool_frame)
    with session(arm, arguments, LOG) as running:
        from vla_ros.nodes.recorder import Recorder

        running.ready()
        recorder = Recorder(running.client, arm)
        for episode in work:
            running.client.reset_world(suite, episode.task, episode.seed)
            time.sleep(SETTLE)
            _clear(running)
            yield _play(running, recorder, kinematics, episode, spec.step)
            time.sleep(SETTLE)


def _clear(running: Session) -> None:
    """Reset the safety filter, whose reference the new scene left behind, once it rests."""

    def cleared() -> bool:
        with suppress(NodeError):
            running.client.reset_safety()
            return True
        return False

    running.until(cleared, REST, 'the safety filter to be reset')


def _play(
    running: Session, recorder: Recorder, kinematics: Kinematics, episode: Episode, step: float
) -> Outcome:
    recorder.begin()
    run = running.client.run(episode.instruction, episode.time_limit)
    running.until(lambda: run.done, episode.time_limit + SLACK, 'the end of the instruction')
    report = run.result(0.1)
    statuses = recorder.moved()
    first, last = statuses[0], statuses[-1]
    success = report.code is RunCode.SUCCEEDED
    return Outcome(
        task=episode.task,
        instruction=episode.instruction,
        seed=episode.seed,
        success=success,
        seconds=report.elapsed,
        steps=math.ceil(report.elapsed / step),
        chunks=report.chunks,
        first_object=_first_object(episode, kinematics, recorder.positions),
        named_object=episode.target_shape,
        collision=any(status.reason == COLLISION for status in statuses),
        control_ticks=last.ticks - first.ticks,
        filtered_ticks=last.filtered_ticks - first.filtered_ticks,
        braked_ticks=last.braked_ticks - first.braked_ticks,
        max_safety_level=max(status.level for status in statuses),
        min_barrier=min(status.min_barrier for status in statuses),
        error='' if success or report.code is RunCode.TIME_LIMIT else report.message,
    )


def _first_object(
    episode: Episode, kinematics: Kinematics, positions: Sequence[Array]
) -> str | None:
    """Return the first object that the tool came near; until then all stand as they were laid."""
    centres = {
        item.shape: np.array([*item.position, REST_HEIGHT[item.shape]])
        for item in episode.layout.objects
    }
    for joints in positions:
        tool = kinematics.fk(joints[:-1])[1]
        distances = {s: surface_distance(s, c, tool) for s, c in centres.items()}
        nearest = min(distances, key=distances.__getitem__)
        if distances[nearest] <= NEAR:
            return nearest
    return None
