"""A policy without weights that passes waypoints by time: bring-up of an arm, demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.actions.strategies.base import mix
from vla_ros.actions.way import FUZZ
from vla_ros.errors import ConfigError
from vla_ros.policies.double import Double
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import ActionChunk, Array, Observation


@dataclass(frozen=True)
class Waypoint:
    """Where the arm comes to rest."""

    time: float  # [s] after the first observation
    action: tuple[float, ...]  # (A,) as the policy file declares its actions


@dataclass(frozen=True)
class Options:
    """What to pass; at the last waypoint the arm stays."""

    waypoints: tuple[Waypoint, ...]

    def __post_init__(self) -> None:
        times = [0.0, *(waypoint.time for waypoint in self.waypoints)]
        if len(times) < 2 or not (np.diff(times) > 0.0).all():
            raise ConfigError(
                f'waypoints have the times {times[1:]} s, expected one or more, increasing and '
                'above 0.'
            )


class ScriptedPolicy(Double):
    """Goes from waypoint to waypoint, beginning where the arm is at the first observation.

    Between two it is at first + w(u) (second - first), w(u) = u^3 (10 - 15 u + 6 u^2), so that
    speed and acceleration are 0 at each; rotations by slerp; a gripper switches at its waypoint.
    Waypoints that are relative are so to the first observation, or to the waypoint before.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Read the waypoints.

        Raises:
            ConfigError: A waypoint has another width than the actions, or actions have no place.
        """
        super().__init__(spec, robot)
        if any(part.kind == 'joint_velocity' for part in spec.action):
            raise ConfigError(
                f"policy {spec.name}: adapter 'scripted' passes places, and a joint_velocity is "
                'none; declare joint_position or joint_delta.'
            )
        options = spec.read_options(Options)
        for waypoint in options.waypoints:
            if len(waypoint.action) != self.codec.action_dim:
                raise ConfigError(
                    f'policy {spec.name}: the waypoint at {waypoint.time} s has '
                    f'{len(waypoint.action)} numbers, expected {self.codec.action_dim}: '
                    f'{", ".join(part.kind for part in spec.action)}.'
                )
        self._times = np.array([0.0, *(w.time for w in options.waypoints)])
        self._actions = np.array([w.action for w in options.waypoints])

    def chunk(self, obs: Observation, first: Observation) -> Array:
        """Return the part of the script that is due from now on."""
        codec, times = self.codec, self._times
        asked = ActionChunk(first.stamp, self._actions, self.spec.step)
        places = np.vstack(
            [codec.action(first.joints.position), codec.absolute(asked, first.joints)]
        )
        t = obs.stamp - first.stamp + self.spec.step * np.arange(1, self.spec.horizon + 1)
        index = np.clip(np.searchsorted(times, t + FUZZ, side='right') - 1, 0, len(times) - 2)
        u = np.clip((t - times[index]) / (times[index + 1] - times[index]), 0.0, 1.0)
        over = t + FUZZ >= times[index + 1]
        smooth = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        share = np.where(codec.held, over[:, None], smooth[:, None])
        now = mix(places[index], places[index + 1], share, codec.turns)
        return codec.relative(now, obs.joints)
