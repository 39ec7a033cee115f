"""A drive: the filter, a real plan of a smooth sweep and a perfect arm."""

from __future__ import annotations

import numpy as np

from vla_ros.actions import Plan
from vla_ros.safety import World
from vla_ros.types import JointState, Trajectory

DT = 0.005


class Drive:
    """A smooth sweep of the base joint, there and back, replanned every 0.4 s; a perfect arm."""

    def __init__(self, safety, robot, config, world=None, sweep=1.2):
        safety.retune(config)
        self.safety, self.robot, self.sweep = safety, robot, sweep
        self.world = world or World()
        self.q = np.append(robot.home, 0.04)
        safety.reset(self.q)
        self.plan = Plan(len(robot.joint_names), accel=robot.limits('acceleration'))
        self.now = 100.0
        self.plan.reset(self.now - DT)
        self.results, self.off_path = [], []

    def way(self, phi):
        """Return pose (n,) and velocity (n,) of the sweep at plan time [s]; it starts at rest."""
        angle = 0.5 - 0.5 * np.cos(0.5 * np.pi * phi)
        q, v = np.append(self.robot.home, 0.04), np.zeros(len(self.robot.joint_names))
        q[0] += self.sweep * angle
        v[0] = self.sweep * 0.25 * np.pi * np.sin(0.5 * np.pi * phi)
        return q, v

    def send(self):
        times = np.arange(1, 61) * 0.02
        due = self.plan.clock.phi + times
        points, speeds = zip(*(self.way(phi) for phi in due))
        chunk = Trajectory(self.now, times, np.array(points), np.array(speeds))
        assert self.plan.accept(chunk, self.now).ok

    def run(self, seconds, world=None):
        for k in range(round(seconds / DT)):
            if k % 80 == 0:
                self.send()
            self.now += DT
            state = JointState(self.now, self.q, np.zeros_like(self.q))
            result = self.safety.step(state, self.plan, world or self.world, self.now, DT)
            self.q = result.command.positions[0].copy()
            self.results.append(result)
            on_way = self.plan.sample(self.plan.clock.phi + result.rate * DT).position
            if result.phi > 0.3:  # it has joined the first chunk
                self.off_path.append(float(np.abs(self.q - on_way).max()))
        return self.results

    @property
    def interventions(self):
        return {r.intervention for r in self.results}
