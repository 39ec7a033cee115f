"""A LIBERO of a point: the part of its API that world.py calls, as its sources have it."""

from __future__ import annotations

from pathlib import Path

BENCHMARK = """
from collections import namedtuple
import numpy as np

Task = namedtuple('Task', 'name language')
print('[info] this goes to standard output')

class Suite:
    def __init__(self, safety_level=None):
        self.level = safety_level
    def get_num_tasks(self):
        return 2
    def get_task(self, i):
        return Task('task_%d' % i, 'go to place %d' % i)
    def get_task_bddl_file_path(self, i):
        return 'II' if self.level == 'II' else 'plain'
    def get_task_init_states(self, i):
        return np.array([[0.1 * (k + 1), 0.2 * i, 0.0] for k in range(3)])  # places to reach

def get_benchmark_dict():
    return {'libero_spatial': Suite, 'safelibero_goal': Suite}
"""
ENVS = """
from types import SimpleNamespace
import numpy as np

class OffScreenRenderEnv:
    def __init__(self, bddl_file_name, use_camera_obs, camera_heights, camera_widths):
        self.level = bddl_file_name == 'II'
        names = ['robot0_joint1', 'near_obstacle_joint0', 'far_obstacle_joint0']
        self.sim = SimpleNamespace(
            model=SimpleNamespace(joint_names=names if self.level else names[:1]),
            render=self.render,
        )
    def render(self, camera_name, width, height):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[0, 0] = 200 if camera_name == 'agentview' else 100
        return picture
    def seed(self, seed):
        self.number = seed
    def reset(self):
        print('reset')
        self.place, self.finger, self.near = np.zeros(3), 0.04, 0.0
    def set_init_state(self, state):
        self.goal = np.array(state)
        return self.seen()
    def step(self, action):
        action = np.clip(action, -1.0, 1.0)
        self.place = self.place + 0.05 * action[:3]
        self.finger = 0.0 if action[6] > 0 else 0.04
        if self.place[1] < -0.01:
            self.near += 0.0006 * np.abs(action[1])
        return self.seen(), 0.0, bool(np.abs(self.place - self.goal).max() < 0.01), {}
    def seen(self):
        found = {
            'robot0_eef_pos': self.place, 'robot0_eef_quat': np.array([1.0, 0.0, 0.0, 0.0]),
            'robot0_gripper_qpos': np.array([self.finger, -self.finger]),
        }
        if self.level:
            found['near_obstacle_pos'] = np.array([0.1 + self.near, self.near, 0.9])
            found['far_obstacle_pos'] = np.array([10.0 + 9.0 * self.near, 0.0, 0.9])
        return found
    def close(self):
        pass
"""


def write(folder: Path) -> Path:
    """Write the packages and return the folder that belongs onto PYTHONPATH."""
    for name, text in (('benchmark', BENCHMARK), ('envs', ENVS), ('.', ''), ('..', '')):
        place = folder / 'libero' / 'libero' / name
        place.mkdir(parents=True, exist_ok=True)
        (place / '__init__.py').write_text(text)
    return folder
