"""What `vla bench pipeline` hears: frames, plans, ticks."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

import numpy as np

from vla_ros import graph
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.robot import RobotSpec
from vla_ros.ros import convert
from vla_ros.status import PolicyStatus, SafetyStatus

PERCENTILES = {'p50': 50, 'p95': 95, 'p99': 99}


class Tap:
    """Listens between `begin` and `end`.

    Published pictures are counted by their camera_info, which is small and so not lost. The
    delay from a trajectory to its use is read off the execution state, 20 ms apart.
    """

    def __init__(self, client: Client, robot: RobotSpec) -> None:
        """Subscribe."""
        self._client = client
        self._infos: dict[str, list[float]] = {camera.name: [] for camera in robot.cameras}
        self._sent: dict[float, float] = {}  # stamp of a trajectory -> [s] heard, monotonic
        self._used: list[float] = []  # [s] from hearing it to its use
        self._from: tuple[PolicyStatus, SafetyStatus] | None = None
        for camera in robot.cameras:
            info = graph.camera_topics(robot, camera.name)[1]
            client.listen(info, self._count(self._infos[camera.name]))
        client.listen(graph.TRAJECTORY, self._on_trajectory)
        client.listen(graph.EXECUTION_STATE, self._on_execution)

    def begin(self, timeout: float) -> None:
        """Count from the next report on; wait for it at most `timeout` [s]."""
        before = self._client.policy
        self._client.until(
            lambda: self._client.policy is not before, timeout, 'a report of the policy'
        )
        self._used.clear()
        self._from = self._reports()

    def end(self) -> dict[str, Any]:
        """Return the figures since `begin`."""
        if self._from is None:
            raise NodeError('nothing was measured: call `begin` first.')
        (policy0, safety0), (policy1, safety1) = self._from, self._reports()
        ticks = safety1.ticks - safety0.ticks
        lost, received, superseded = {}, {}, {}
        for name, stamps in self._infos.items():
            if name not in policy1.sources:  # the policy does not look through it
                continue
            first, last = policy0.sources[name], policy1.sources[name]
            published = sum(policy0.stamp < stamp <= policy1.stamp for stamp in stamps)
            received[name] = last.received - first.received
            superseded[name] = last.superseded - first.superseded
            # at each end one picture may be on its way
            lost[name] = max(0, published - received[name] - 1)
        wait, total, inference = policy1.frame_wait, policy1.total, policy1.inference
        own = [p + q for p, q in zip(policy1.preprocess, policy1.publish)]
        return {
            'frame_wait_ms': _named([1e3 * v for v in wait]),
            'inference_ms': _named([1e3 * v for v in inference]),
            'overhead_ms': _named([1e3 * v for v in own]),
            'frame_to_trajectory_ms': _named([1e3 * v for v in total]),
            'trajectory_to_command_ms': _named(
                1e3 * np.percentile(self._used or [np.nan], list(PERCENTILES.values()))
            ),
            'control_ticks': ticks,
            'missed_ticks': safety1.missed_ticks - safety0.missed_ticks,
            'missed_share': (safety1.missed_ticks - safety0.missed_ticks) / max(ticks, 1),
            'longest_gap_ms': 1e3 * safety1.longest_gap,
            'received_frames': received,
            'lost_frames': lost,
            'superseded_frames': superseded,
            'chunks': policy1.chunks - policy0.chunks,
        }

    def _reports(self) -> tuple[PolicyStatus, SafetyStatus]:
        policy, safety = self._client.policy, self._client.safety
        assert policy, 'the graph is ready'
        assert safety
        return policy, safety

    def _count(self, stamps: list[float]) -> Callable[[Any], None]:
        return lambda msg: stamps.append(convert.time_from_msg(msg.header.stamp))

    def _on_trajectory(self, msg: Any) -> None:
        self._sent[convert.time_from_msg(msg.header.stamp)] = time.monotonic()

    def _on_execution(self, msg: Any) -> None:
        plan = convert.execution_state_from_msg(msg).accepted_plan
        if plan in self._sent:
            self._used.append(time.monotonic() - self._sent.pop(plan))


def _named(values: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(PERCENTILES, values)}
