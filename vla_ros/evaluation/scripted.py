"""The scripted expert behind the Policy protocol: the measure of a suite and of chance."""

from __future__ import annotations

from collections.abc import Callable

from vla_ros.errors import PolicyError
from vla_ros.sim import experts
from vla_ros.sim.tasks import Episode, SceneState
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, ChunkPrefix, Observation

NAME = 'expert'
SPEC = PolicySpec(
    name=NAME,
    adapter=NAME,
    images=(),
    state=(),
    action=(ActionSlice('tool_position', 'm'), ActionSlice('gripper', 'open_fraction')),
    step=experts.STEP,
    horizon=10,
    replan_steps=3,
)


class ScriptedPolicy:
    """Answers from the truth, which `watch` gives it; pictures and sentence change nothing."""

    spec = SPEC
    offers: frozenset[str] = frozenset()

    def __init__(self) -> None:
        """Begin without a scene."""
        self._episode: Episode | None = None
        self._view: Callable[[], SceneState] | None = None

    def watch(self, episode: Episode, view: Callable[[], SceneState]) -> None:
        """Take what is asked and where to look; both may be another episode's."""
        self._episode, self._view = episode, view

    def reset(self, instruction: str, *, seed: int) -> None:
        """Change nothing: the expert has no memory and draws nothing."""
        del instruction, seed

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return the expert's plan from the present truth; a prefix changes nothing."""
        del prefix
        if self._episode is None or self._view is None:
            raise PolicyError('the scripted expert has no scene: call `watch` first.')
        points = experts.plan(self._episode, self._view(), self.spec.horizon)
        return ActionChunk(obs.stamp, points, self.spec.step)
