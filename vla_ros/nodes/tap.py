"""What `vla bench pipeline` hears: frames, chunks, plans, ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
import time
from typing import Any, NamedTuple

import numpy as np

from vla_ros import graph
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.robot import RobotSpec
from vla_ros.ros import convert
from vla_ros.status import PolicyStatus, SafetyStatus
from vla_ros.types import Provenance

PERCENTILES = {'p50': 50, 'p95': 95, 'p99': 99}
DEPTH = 100  # camera_infos that wait while this process is busy: a lost one is a lost count
LATE = 1.0  # [s] after its capture a picture that did not reach the policy is lost
ROUNDING = 1e-6  # [s] of stamps


class Seen(NamedTuple):
    """What a report of the policy says of one camera."""

    stamp: float  # [s] of the report
    age: float  # [s] of the newest picture; inf before the first
    received: int

    @property
    def newest(self) -> float:
        """Capture time of the newest picture [s], not longer ago than LATE."""
        return self.stamp - min(self.age, LATE)


def costs(stamp: float, drawn: float, published: float, chunk: Provenance) -> dict[str, float]:
    """Return where the time of one chunk went [s].

    Args:
        stamp: Of the oldest picture used [s].
        drawn: When that picture was about to be published [s].
        published: When the chunk was [s].
        chunk: What its node says of it.
    """
    said, capture, total = chunk.timings, drawn - stamp, published - stamp
    return {
        'capture': capture,
        'transport': said['transport'] - capture,
        **{stage: said[stage] for stage in ('frame_wait', 'preprocess', 'inference')},
        'overhead': total - capture - said['frame_wait'] - said['inference'],
        'frame_to_trajectory': total - capture,
    }


def lost(captured: Iterable[float], first: Seen, last: Seen) -> int:
    """Return how many pictures did not reach the policy between two of its reports.

    Pictures come in order. Those captured after the newest of the first report, up to the
    newest of the last, were received or are lost; of later ones some may be on their way.

    Args:
        captured: When each picture was taken [s].
        first: Where the count begins.
        last: Where it ends; its newest picture is among those captured.
    """
    begin, end = first.newest + ROUNDING, last.newest + ROUNDING
    return sum(begin < stamp <= end for stamp in captured) - (last.received - first.received)


class Tap:
    """Listens between `begin` and `end`.

    Published pictures are counted by their camera_info, which is small and so not lost, and is
    sent just before the picture, when this has been drawn: drawing is no part of the chain. The
    delay from a trajectory to its use is read off the execution state, 20 ms apart.
    """

    def __init__(self, client: Client, robot: RobotSpec) -> None:
        """Subscribe."""
        self._client = client
        self._infos: dict[str, list[float]] = {camera.name: [] for camera in robot.cameras}
        self._drawn: dict[float, float] = {}  # stamp of a picture -> [s] its info was published
        self._costs: list[dict[str, float]] = []  # of each chunk [s]
        self._sent: dict[float, float] = {}  # stamp of a trajectory -> [s] heard, monotonic
        self._used: list[float] = []  # [s] from hearing it to its use
        self._from: tuple[PolicyStatus, SafetyStatus] | None = None
        for camera in robot.cameras:
            info = graph.camera_topics(robot, camera.name)[1]
            deep = replace(info, qos=replace(info.qos, depth=DEPTH))
            client.listen(deep, self._count(self._infos[camera.name]))
        client.listen(graph.TRAJECTORY, self._on_trajectory)
        client.listen(graph.CHUNK, self._on_chunk)
        client.listen(graph.EXECUTION_STATE, self._on_execution)

    def begin(self, timeout: float) -> None:
        """Count from the next report on; wait for it at most `timeout` [s]."""
        before = self._client.policy
        self._client.until(
            lambda: self._client.policy is not before, timeout, 'a report of the policy'
        )
        self._used.clear()
        self._costs.clear()
        self._from = self._reports()

    def end(self, timeout: float) -> dict[str, Any]:
        """Return the figures since `begin`; wait at most `timeout` [s] for the last count."""
        if self._from is None:
            raise NodeError('nothing was measured: call `begin` first.')
        (policy0, safety0), (policy1, safety1) = self._from, self._reports()
        ticks = safety1.ticks - safety0.ticks
        missed, received, superseded = {}, {}, {}
        for name, stamps in self._infos.items():
            if name not in policy1.sources:  # the policy does not look through it
                continue
            source0, source1 = policy0.sources[name], policy1.sources[name]
            first = Seen(policy0.stamp, source0.age, source0.received)
            last = Seen(policy1.stamp, source1.age, source1.received)
            if last.age < LATE:  # its camera_info may still be on its way to us
                what = f"the camera_info of the last picture of '{name}'"
                self._client.until(partial(_reached, stamps, last.newest), timeout, what)
            received[name] = source1.received - source0.received
            superseded[name] = source1.superseded - source0.superseded
            missed[name] = lost(tuple(stamps), first, last)
        if not self._costs:
            raise NodeError(f'the policy published no chunk: {policy1.message}.')
        stages = {
            f'{stage}_ms': _percentiles([cost[stage] for cost in self._costs])
            for stage in self._costs[0]
        }
        return {
            **stages,
            'filter_ms': {n: 1e3 * v for n, v in zip(PERCENTILES, policy1.filter)},
            'trajectory_to_command_ms': _percentiles(self._used or [np.nan]),
            'control_ticks': ticks,
            'missed_ticks': safety1.missed_ticks - safety0.missed_ticks,
            'missed_share': (safety1.missed_ticks - safety0.missed_ticks) / max(ticks, 1),
            'longest_gap_ms': 1e3 * safety1.longest_gap,
            'received_frames': received,
            'lost_frames': missed,
            'superseded_frames': superseded,
            'chunks': policy1.chunks - policy0.chunks,
        }

    def _reports(self) -> tuple[PolicyStatus, SafetyStatus]:
        policy, safety = self._client.policy, self._client.safety
        assert policy, 'the graph is ready'
        assert safety
        return policy, safety

    def _count(self, stamps: list[float]) -> Callable[..., None]:
        def count(msg: Any, info: dict[str, int]) -> None:
            stamp = convert.time_from_msg(msg.header.stamp)
            stamps.append(stamp)
            # Of two cameras drawn for one instant the later one counts, as in the node.
            self._drawn[stamp] = 1e-9 * info['source_timestamp']

        return count

    def _on_trajectory(self, msg: Any) -> None:
        self._sent[convert.time_from_msg(msg.header.stamp)] = time.monotonic()

    def _on_chunk(self, msg: Any, info: dict[str, int]) -> None:
        stamp = convert.time_from_msg(msg.header.stamp)
        if stamp in self._drawn:
            published = 1e-9 * info['source_timestamp']
            chunk = convert.provenance_from_msg(msg)
            self._costs.append(costs(stamp, self._drawn[stamp], published, chunk))

    def _on_execution(self, msg: Any) -> None:
        plan = convert.execution_state_from_msg(msg).accepted_plan
        if plan in self._sent:
            self._used.append(time.monotonic() - self._sent.pop(plan))


def _reached(stamps: list[float], time: float) -> bool:
    return bool(stamps) and stamps[-1] >= time - ROUNDING


def _percentiles(seconds: list[float]) -> dict[str, float]:
    values = 1e3 * np.percentile(seconds, list(PERCENTILES.values()))
    return {name: float(value) for name, value in zip(PERCENTILES, values)}
