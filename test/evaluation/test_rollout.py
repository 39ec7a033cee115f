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
from vla_ros.sim.perturbation import AXES, Perturbation
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


def test_a_sequence_gives_the_second_sentence_when_the_first_is_done(expert: Rollout) -> None:
    episode = load_suite('long').episodes(4, 0)[0]  # reach, then pick
    told: list[tuple[float, str]] = []
    policy = expert.policy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            policy, 'reset',
            lambda words, *, seed: told.append((expert._table.world.time, words)), raising=True,
        )  # fmt: skip
        outcome = expert.run(episode)
    assert outcome.success
    assert (outcome.requests, outcome.finished, outcome.task) == (2, 2, 'reach, pick')
    assert [words for _, words in told] == [r.instruction for r in episode.requests]
    alone = expert.run(replace(episode, then=None))
    assert told[1][0] == pytest.approx(alone.seconds, abs=0.01)
    assert outcome.seconds > alone.seconds + 0.5


def test_a_sequence_whose_second_request_fails_has_half_finished(
    expert: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = load_suite('long').episodes(4, 0)[0]
    monkeypatch.setitem(TASKS, 'pick', replace(TASKS['pick'], time_limit=0.5))
    outcome = expert.run(episode)
    assert (outcome.success, outcome.finished) == (False, 1)


@pytest.mark.parametrize('axis', AXES)
def test_a_perturbed_episode_repeats_and_the_next_is_as_if_it_had_not_been(
    guard: SafetyFilter, monkeypatch: pytest.MonkeyPatch, axis: str
) -> None:
    """What a policy sees and is told changes on each axis; afterwards nothing is left of it."""
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=0.6))
    policy = _Camera(_hold())
    rollout, episode, seen = Rollout(ROBOT, policy, guard), EPISODES[0], []
    for severity in (0, 3, 3, 0):
        condition = Condition(perturbation=Perturbation(axis, severity, episode.seed))
        policy.seen.clear()
        outcome = rollout.run(episode, condition if severity else Condition())
        first = policy.seen[0]
        tool = rollout._codec.hand.kinematics.fk(first.joints.position[:-1])[1].round(3).tolist()
        pictures = [obs.frames['scene'].image.tobytes() for obs in policy.seen]
        seen.append((outcome, first.instruction, tool, pictures))
    rollout.close()
    assert seen[1] == seen[2] != seen[0] == seen[3]
    assert (seen[1][1] == seen[0][1]) == (axis != 'language')
    assert (seen[1][2] == seen[0][2]) == (axis != 'start')
    assert (seen[1][3] == seen[0][3]) == (axis == 'language')


def test_a_latency_of_a_condition_is_that_of_its_episode_alone(guard: SafetyFilter) -> None:
    rollout = Rollout(ROBOT, ScriptedPolicy(), guard)
    plain, late = (rollout.run(EPISODES[0], Condition(latency=t)) for t in (None, 0.5))
    assert late.seconds > plain.seconds + 0.3  # it starts 0.44 s later
    assert rollout.run(EPISODES[0]) == plain
    rollout.close()


def test_a_film_changes_nothing_and_has_a_picture_every_tenth_of_a_second(expert: Rollout) -> None:
    times: list[float] = []
    plain = expert.run(EPISODES[0])
    filmed = expert.run(EPISODES[0], film=lambda table: times.append(table.world.time))
    assert filmed == plain
    assert np.diff(times) == pytest.approx(0.1)
    assert len(times) == pytest.approx(plain.seconds / 0.1, abs=1.0)
