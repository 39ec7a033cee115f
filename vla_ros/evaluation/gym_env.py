"""The tabletop as a Gymnasium environment, behind the real safety filter.

`gymnasium.make('vla_ros.evaluation.gym_env:vla_ros/Tabletop-v0')`. Gymnasium is optional:
requirements/gymnasium.txt names its version.
"""

from __future__ import annotations

import string
from typing import Any, ClassVar

import numpy as np

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import MissingPackageError, PolicyError, UnknownNameError
from vla_ros.evaluation.lockstep import Lockstep
from vla_ros.evaluation.rollout import HOLD
from vla_ros.evaluation.suite import load_suite
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.tabletop import Tabletop
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, Array, Image

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise MissingPackageError(
        'gymnasium', 'for the environment', 'pip install -r requirements/gymnasium.txt'
    ) from error

ID = 'vla_ros/Tabletop-v0'
STEP = 0.1  # [s] of one action
AHEAD = 2  # points of a plan: the filter sees the arm come to rest, should no action follow
ACTIONS = {  # name -> slices of an action
    'tool': (ActionSlice('tool_position', 'm'), ActionSlice('gripper', 'open_fraction')),
    'joints': (ActionSlice('joint_position', 'rad'), ActionSlice('gripper', 'open_fraction')),
}
WORKSPACE = np.array([[0.2, 0.8], [-0.5, 0.5], [0.0, 0.7]])  # [m] of the tool's goals
MOST_WORDS = 120  # characters of a sentence


class TabletopEnv(gymnasium.Env):
    """One request over one random scene; an action is where to be 0.1 s later.

    The observation has 'pixels', a picture (size, size, 3) of each camera; 'joints' (n,) [rad],
    [m]; and 'instruction'. The reward is 1 in the step that completes the request, else 0.
    """

    metadata: ClassVar[dict[str, Any]] = {'render_modes': ['rgb_array'], 'render_fps': 10}

    def __init__(
        self,
        suite: str = 'tabletop',
        robot: str = 'panda',
        safety: str = 'default',
        action: str = 'tool',
        size: int = 96,
        held_out: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Compile the world.

        Args:
            suite: A suite file; its trials, if any, are not played.
            robot: A robot file.
            safety: A safety file.
            action: 'tool' for tool position [m] and gripper opening, 'joints' for arm joints [rad]
                and gripper opening.
            size: Of a picture [px].
            held_out: Episodes come from the seeds of evaluation, not from those below them.
            render_mode: 'rgb_array', or None.

        Raises:
            UnknownNameError: There is no such file or kind of action.
        """
        if action not in ACTIONS:
            raise UnknownNameError('kind of action', action, ACTIONS)
        if render_mode not in (None, *self.metadata['render_modes']):
            raise UnknownNameError('render mode', str(render_mode), self.metadata['render_modes'])
        self.robot, self.render_mode = load_robot(paths.find('robots', robot)), render_mode
        self._suite, self._held_out, self._size = load_suite(suite), held_out, size
        self.table = Tabletop(self.robot, self.robot.urdf_path)
        self._guard = SafetyFilter(self.robot, load_safety(paths.find('safety', safety)))
        spec = PolicySpec(
            name=action, adapter=action, images=(), state=(), action=ACTIONS[action], step=STEP,
            horizon=AHEAD, replan_steps=1,
        )  # fmt: skip
        self._codec = Codec(self.robot, self.robot.urdf_path, spec)
        joints = (self.robot.limits('lower'), self.robot.limits('upper'))
        low, high = WORKSPACE.T if action == 'tool' else joints
        self.action_space = spaces.Box(np.append(low, 0.0), np.append(high, 1.0), dtype=np.float64)
        picture = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = spaces.Dict({
            'pixels': spaces.Dict({camera.name: picture for camera in self.robot.cameras}),
            'joints': spaces.Box(-np.inf, np.inf, (len(self.robot.joint_names),), np.float64),
            'instruction': spaces.Text(MOST_WORDS, charset=string.ascii_letters + ' '),
        })  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Lay the table for another episode.

        Args:
            seed: Of the episodes from here on.
            options: 'task' names one of the suite's, 'episode' the number of the episode.

        Raises:
            UnknownNameError: The suite has no such task.
        """
        super().reset(seed=seed)
        chosen = options or {}
        task = str(chosen.get('task', self.np_random.choice(self._suite.tasks)))
        number = int(self.np_random.integers(self._suite.first_seed))
        number += self._suite.first_seed if self._held_out else 0
        self.episode = self._suite.episode(task, int(chosen.get('episode', number)))
        self.table.reset(self.episode)
        self._arm = Lockstep(self.robot, self._guard, self.table.world)
        self._arm.advance(self._arm.state())  # the plan clock tells no time before its first tick
        self._moving, self._held = False, 0.0  # [s] that the request has been fulfilled
        return self._observation(), {'task': task, 'episode': self.episode.seed}

    def step(self, action: Array) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Go where an action says, as far as the safety filter lets the arm, for 0.1 s.

        What the arm cannot reach or is not finite moves nothing; `info['error']` says why.
        `info['level']` is the highest level of the filter in this step, `info['min_barrier']` [m]
        the smallest barrier.
        """
        arm, joints = self._arm, self._arm.state()
        error = ''
        try:
            points = np.tile(np.asarray(action, dtype=float), (AHEAD, 1))
            chunk = ActionChunk(joints.stamp, points, STEP)
            plan = self._codec.decode(chunk, joints)
            verdict = arm.plan.accept(plan, arm.now, arm.reference if self._moving else None)
            self._moving |= verdict.ok
            error = '' if verdict.ok else verdict.reason
        except PolicyError as refused:
            error = str(refused)
        level, barrier = 0, np.inf
        for _ in range(round(STEP / arm.period)):
            result = arm.advance(arm.state())
            level, barrier = max(level, int(result.level)), min(barrier, result.min_barrier)
            self._held = self._held + arm.period if self.table.success() else 0.0
        done = self._held >= HOLD
        late = not done and self.table.world.time >= self.episode.time_limit
        info = {'level': level, 'min_barrier': float(barrier), 'success': done, 'error': error}
        return self._observation(), float(done), done, late, info

    def render(self) -> Image | None:
        """Return a picture (480, 640, 3) of the first camera, where `render_mode` asks for one."""
        if self.render_mode is None:
            return None
        return self.table.world.render(self.robot.cameras[0].name)

    def close(self) -> None:
        """Free the renderers."""
        self.table.world.close()

    def _observation(self) -> dict[str, Any]:
        cameras = [camera.name for camera in self.robot.cameras]
        return {
            'pixels': {name: self.table.square(name, self._size) for name in cameras},
            'joints': self.table.world.joint_state().position.copy(),
            'instruction': self.episode.instruction,
        }


gymnasium.register(ID, entry_point=f'{__name__}:TabletopEnv')
