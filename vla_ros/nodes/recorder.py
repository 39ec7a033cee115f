"""Records what a run shows: joints, safety and rates, and both cameras as a video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_ros import graph
from vla_ros.bags.video import VideoWriter
from vla_ros.errors import NodeError
from vla_ros.evaluation.report import RunLog
from vla_ros.evaluation.video import compose
from vla_ros.nodes.client import Client
from vla_ros.nodes.pace import Pace
from vla_ros.robot import RobotSpec
from vla_ros.ros import convert
from vla_ros.status import SafetyStatus
from vla_ros.types import Array

VIDEO_RATE = 10.0  # [Hz]
JOINT_PERIOD = 0.02  # [s] joint states closer than this to the last one kept are skipped


class Recorder:
    """Listens beside a client; times of its log count from the first joint state after `begin`."""

    def __init__(self, client: Client, robot: RobotSpec) -> None:
        """Subscribe.

        Args:
            client: Its thread runs the callbacks.
            robot: Says which joints there are.
        """
        self._robot = robot
        self.begin()
        client.listen(graph.JOINT_STATES, self._on_joints)
        client.listen(graph.SAFETY_STATUS, self._on_safety)
        client.listen(graph.EXECUTION_STATE, self._on_execution)

    def begin(self) -> None:
        """Forget what was recorded."""
        self.log = RunLog(joint_names=self._robot.joint_names)
        self.statuses: list[SafetyStatus] = []  # from the first accepted plan on
        self._start: float | None = None  # [s] ROS time of the first joint state
        self._moving = False  # a plan was accepted

    @property
    def heard(self) -> bool:
        """Whether the safety filter has said what it executes."""
        return bool(self.log.rates)

    @property
    def positions(self) -> list[Array]:
        """Joint positions (n,) [rad], [m], JOINT_PERIOD or more apart."""
        return self.log.positions

    def moved(self) -> list[SafetyStatus]:
        """Return the safety statuses since the first accepted plan.

        Raises:
            NodeError: No plan was accepted.
        """
        if not self.statuses:
            raise NodeError('the safety filter accepted no plan; its log says why.')
        return list(self.statuses)

    def _on_joints(self, msg: Any) -> None:
        state = convert.joint_state_from_msg(msg, self._robot.joint_names)
        if self._start is None:
            self._start = state.stamp
        time = state.stamp - self._start
        if not self.log.joint_times or time - self.log.joint_times[-1] >= JOINT_PERIOD:
            self.log.joint_times.append(time)
            self.log.positions.append(state.position)

    def _on_safety(self, msg: Any) -> None:
        status = convert.safety_status_from_msg(msg)
        if self._start is not None:
            self.log.safety_times.append(status.stamp - self._start)
            self.log.levels.append(status.level)
            self.log.reasons.append(status.reason)
            self.log.barriers.append(status.min_barrier)
        if self._moving:
            self.statuses.append(status)

    def _on_execution(self, msg: Any) -> None:
        state = convert.execution_state_from_msg(msg)
        if self._start is not None:
            self.log.rates.append((state.stamp - self._start, state.rate))
            self._moving |= state.accepted_plan is not None


class VideoRecorder:
    """Writes every camera of a robot, side by side, at VIDEO_RATE; a context manager."""

    def __init__(self, client: Client, robot: RobotSpec, path: Path, caption: str) -> None:
        """Subscribe; the video begins with the first picture of the last camera.

        Args:
            client: Its thread receives the pictures.
            robot: Says which cameras there are.
            path: MP4 file to write.
            caption: Line under the pictures.
        """
        self._client, self._caption = client, caption
        self._cameras = [camera.name for camera in robot.cameras]
        self._pictures: dict[str, Any] = {}  # camera -> newest message
        self._start: float | None = None  # [s] stamp of the first picture
        self._written = 0  # pictures
        self._video = VideoWriter(path, VIDEO_RATE)
        self.failure: BaseException | None = None  # what ended the video early
        self._pace = Pace(VIDEO_RATE, self._draw, failed=self._failed, name='video')
        for camera in robot.cameras:
            client.listen(graph.camera_topics(robot, camera.name)[0], self._keep(camera.name))

    def __enter__(self) -> VideoRecorder:
        """Start the video."""
        self._pace.start()
        return self

    def __exit__(self, *stop: Any) -> None:
        """End the video."""
        self._pace.stop()
        self._video.__exit__(*stop)

    def _keep(self, camera: str) -> Callable[[Any], None]:
        return lambda msg: self._pictures.update({camera: msg})

    def _draw(self, dt: float) -> None:
        if any(name not in self._pictures for name in self._cameras):
            return
        frames = [convert.frame_from_msg(self._pictures[name]) for name in self._cameras]
        if self._start is None:
            self._start = frames[0].stamp
        safety = self._client.safety
        level = f'S{safety.level}' if safety else ''
        time = frames[0].stamp - self._start
        image = compose(
            [frame.image for frame in frames], self._caption, f'{time:5.1f} s  {level}'
        )
        while self._written <= time * VIDEO_RATE:  # repeats a picture where drawing was late
            self._video.add(image)
            self._written += 1

    def _failed(self, error: BaseException) -> None:
        self.failure = error
