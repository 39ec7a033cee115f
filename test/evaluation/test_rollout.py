"""Episodes in one process: the loop is repeatable, judged for its own target, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.errors import PolicyError
from vla_ros.evaluation.rollout import Condition, Rollout
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.suite import load_suite, other_instruction, other_scene
from vla_ros.policies.hold import HoldPolicy
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.tasks import TASKS
from vla_ros.spec import ImageSpec, PolicySpec
from vla_ros.types import ActionChunk, ChunkPrefix, Observation

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

ROBOT = load_robot(paths.find('robots', 'panda'))
EPISODES = load_suite('tabletop').episodes(8, 0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """Make a reach last 2.5 s at most."""
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=2.5))
    return 2.5


@pytest.fixture(scope='module')
def guard() -> SafetyFilter:
    return SafetyFilter(ROBOT, load_safety(paths.find('safety', 'default')))


@pytest.fixture(scope='module')
def expert(guard: SafetyFilter) -> Iterator[Rollout]:
    rollout = Rollout(ROBOT, ScriptedPolicy(), guard)
    yield rollout
    rollout.close()


def test_the_expert_succeeds_at_every_task_through_the_filter(expert: Rollout) -> None:
    for episode in EPISODES[:4]:
        outcome = expert.run(episode)
        assert outcome.success, episode
        assert outcome.first_object == outcome.named_object
        assert not outcome.collision
        assert outcome.max_safety_level <= 1
        assert outcome.min_barrier > 0.0
        assert outcome.seconds < episode.time_limit


def test_an_episode_repeats_exactly(expert: Rollout) -> None:
    assert expert.run(EPISODES[4]) == expert.run(EPISODES[4])


@pytest.mark.parametrize('change', ['seen', 'told'])
def test_who_believes_an_exchanged_input_goes_elsewhere(
    expert: Rollout, short: float, change: str
) -> None:
    episode = EPISODES[0]
    other = {'seen': other_scene, 'told': other_instruction}[change](episode)
    outcome = expert.run(episode, Condition(**{change: other}))
    assert not outcome.success
    assert outcome.named_object == episode.target_shape
    assert outcome.instruction == other.instruction


class _Camera(HoldPolicy):
    """Holds still and keeps what it saw."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec, ROBOT)
        self.seen: list[Observation] = []

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        self.seen.append(obs)
        return super().infer(obs, prefix)


def _hold(**changes: object) -> PolicySpec:
    spec = config.load(paths.find('policies', 'hold'), PolicySpec)
    return replace(spec, images=(ImageSpec('scene', 64),), **changes)


def test_a_policy_sees_what_the_condition_says(guard: SafetyFilter, short: float) -> None:
    policy = _Camera(_hold())
    rollout = Rollout(ROBOT, policy, guard)
    episode = EPISODES[0]
    pictures, words = [], []
    for condition in (
        Condition(),
        Condition(seen=other_scene(episode)),
        Condition(told=other_instruction(episode)),
    ):
        policy.seen.clear()
        outcome = rollout.run(episode, condition)
        assert not outcome.success
        assert outcome.first_object is None
        assert outcome.seconds == pytest.approx(short, abs=0.01)
        pictures.append(policy.seen[0].frames['scene'].image.astype(int))
        words.append(policy.seen[0].instruction)
    rollout.close()
    assert pictures[0].shape == (64, 64, 3)
    assert np.abs(pictures[0] - pictures[1]).max() > 50  # objects stand elsewhere
    assert (pictures[0] == pictures[2]).all()
    assert words[0] == words[1] != words[2]


def test_inferences_follow_the_plan_clock(guard: SafetyFilter, short: float) -> None:
    policy = _Camera(_hold())
    rollout = Rollout(ROBOT, policy, guard)
    rollout.run(EPISODES[0])
    rollout.close()
    gaps = np.diff([obs.stamp for obs in policy.seen])
    period = policy.spec.replan_steps * policy.spec.step
    assert np.median(gaps) == pytest.approx(period, abs=0.011)


def test_a_policy_that_fails_ends_its_episode_at_rest(guard: SafetyFilter, short: float) -> None:
    class Failing(HoldPolicy):
        def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
            raise PolicyError('no picture')

    rollout = Rollout(ROBOT, Failing(_hold(), ROBOT), guard)
    outcome = rollout.run(EPISODES[0])
    rollout.close()
    assert outcome.error == 'no picture'
    assert not outcome.success
