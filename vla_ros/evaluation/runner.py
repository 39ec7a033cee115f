"""Many episodes and their controls, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vla_ros import config, paths
from vla_ros.evaluation.metrics import control, Outcome, summarize
from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.rollout import Condition, Rollout
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.suite import load_suite, other_instruction, other_scene
from vla_ros.policies.base import Policy
from vla_ros.policies.registry import create
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.tasks import Episode
from vla_ros.spec import PolicySpec

# Name of a control -> the condition that it puts an episode under.
CONTROLS: dict[str, Callable[[Episode], Condition]] = {
    'images of another episode': lambda episode: Condition(seen=other_scene(episode)),
    'instruction of another object': lambda episode: Condition(told=other_instruction(episode)),
}
TRUE = 'true inputs'


@dataclass(frozen=True)
class Evaluation:
    """What is to be measured."""

    robot: str
    policy: str
    safety: str
    suite: str
    episodes: int
    seed: int
    control_episodes: int  # of each control; 0 = none
    mode: str = ''  # of the safety filter; empty: what its file says


@dataclass(frozen=True)
class Job:
    """One episode under one condition by one policy."""

    policy: str
    condition: str
    index: int
    episode: Episode


def jobs(evaluation: Evaluation) -> list[Job]:
    """Return every episode to play, the policy's own first."""
    suite = load_suite(evaluation.suite)
    episodes = suite.episodes(evaluation.episodes, evaluation.seed)
    work = [Job(evaluation.policy, TRUE, i, e) for i, e in enumerate(episodes)]
    for name in CONTROLS:
        for i, episode in enumerate(episodes[: evaluation.control_episodes]):
            work.append(Job(evaluation.policy, name, i, episode))
            if evaluation.policy != EXPERT:  # which is its own measure of chance
                work.append(Job(EXPERT, name, i, episode))
    return work


def run(
    evaluation: Evaluation, workers: int, done: Callable[[Job, Outcome], None]
) -> dict[str, Any]:
    """Play all episodes and return the figures by the keys of `vla eval --json`.

    Args:
        evaluation: What is to be measured; every name in it is checked before anything runs.
        workers: Processes; 1 plays in this one.
        done: Called after each episode.
    """
    work = [(job,) for job in jobs(evaluation)]
    play = player_of(evaluation)  # also the check of every name and of the weights
    played = []
    for (job,), outcome in spread(player_of, evaluation, work, workers, play):
        played.append((job, outcome))
        done(job, outcome)
    played.sort(key=lambda pair: pair[0].index)

    def of(policy: str, condition: str) -> list[Outcome]:
        return [o for job, o in played if (job.policy, job.condition) == (policy, condition)]

    controls = {
        name: control(of(evaluation.policy, name), of(EXPERT, name))
        for name in CONTROLS
        if evaluation.control_episodes
    }
    return figures(evaluation, of(evaluation.policy, TRUE), controls)


def figures(
    evaluation: Evaluation, outcomes: Sequence[Outcome], controls: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `vla eval` reports."""
    return {
        'suite': evaluation.suite,
        'policy': evaluation.policy,
        'safety': evaluation.safety,
        'mode': evaluation.mode or load_safety(paths.find('safety', evaluation.safety)).mode,
        'robot': evaluation.robot,
        'seed': evaluation.seed,
        **summarize(outcomes),
        'controls': dict(controls),
        'outcomes': [vars(outcome) for outcome in outcomes],
    }


def make_policy(name: str, robot: RobotSpec) -> Policy:
    """Load a policy by the name of its file, or the scripted expert."""
    if name == EXPERT:
        return ScriptedPolicy()
    return create(config.load(paths.find('policies', name), PolicySpec), robot)


class _Player:
    """Loads a policy when its first episode comes, and plays episodes with it."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._robot = load_robot(paths.find('robots', evaluation.robot))
        safety = load_safety(paths.find('safety', evaluation.safety))
        self._safety = replace(safety, mode=evaluation.mode or safety.mode)
        self._rollouts: dict[str, Rollout] = {}
        self._rollout(evaluation.policy)

    def play(self, job: Job) -> Outcome:
        condition = CONTROLS[job.condition](job.episode) if job.condition != TRUE else Condition()
        return self._rollout(job.policy).run(job.episode, condition)

    def _rollout(self, name: str) -> Rollout:
        if name not in self._rollouts:
            policy = make_policy(name, self._robot)
            guard = SafetyFilter(self._robot, self._safety)
            self._rollouts[name] = Rollout(self._robot, policy, guard)
        return self._rollouts[name]


def player_of(evaluation: Evaluation) -> Callable[[Job], Outcome]:
    """Return what plays an evaluation's episodes."""
    return _Player(evaluation).play
