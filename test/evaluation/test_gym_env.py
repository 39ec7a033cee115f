"""The Gymnasium environment: by Gymnasium's own checker, and by what its actions do.

Gymnasium is optional. Where it is not installed, its three small packages go to the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from vla_ros.errors import UnknownNameError
from vla_ros.sim import experts

CACHE = Path.home() / '.cache' / 'vla_ros' / 'gymnasium-1.4.0'
WANTED = ('gymnasium==1.4.0', 'farama-notifications==0.0.6', 'cloudpickle==3.1.3')
NAME = 'vla_ros.evaluation.gym_env:vla_ros/Tabletop-v0'


@pytest.fixture(scope='module')
def gymnasium() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        if find_spec('gymnasium') is None:
            if not (CACHE / 'gymnasium').exists():
                words = ['install', '--quiet', '--no-deps', '--target', str(CACHE), *WANTED]
                command = [sys.executable, '-m', 'pip', *words]
                try:
                    subprocess.run(command, check=True, capture_output=True, timeout=120)
                except (subprocess.SubprocessError, OSError) as error:
                    pytest.skip(f'gymnasium cannot be installed: {error}')
            patch.syspath_prepend(CACHE)
        yield pytest.importorskip('gymnasium')


@pytest.fixture(scope='module')
def env(gymnasium: Any) -> Iterator[Any]:
    env = gymnasium.make(NAME, size=48, render_mode='rgb_array')
    yield env.unwrapped
    env.close()


def test_gymnasiums_own_checker_is_content(env: Any) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(env)


def test_the_expert_earns_the_reward_of_its_last_step_alone(env: Any) -> None:
    observation, _ = env.reset(seed=3, options={'task': 'pick'})
    rewards, over = [], False
    while not over:
        action = experts.plan(env.episode, env.table.state(), 2)[1]
        observation, reward, done, late, info = env.step(action)
        assert not info['error']
        rewards.append(reward)
        over = done or late
    assert observation in env.observation_space
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info['success'] and not late


def test_episodes_come_from_the_side_of_the_seeds_that_is_asked_for(gymnasium: Any) -> None:
    numbers = []
    for held_out in (False, True):
        env = gymnasium.make(NAME, size=16, held_out=held_out)
        numbers.append(env.reset(seed=0)[1]['episode'])
        env.close()
    assert numbers[0] < 10**9 <= numbers[1] == numbers[0] + 10**9


def test_no_action_leads_into_the_table_and_bad_ones_move_nothing(env: Any) -> None:
    env.reset(seed=1, options={'task': 'reach'})
    before = env.table.world.tool_pose()[1]
    for bad in ([np.nan] * 4, [3.0, 0.0, 0.3, 1.0]):
        _, _, _, _, info = env.step(np.array(bad))
        assert info['error']
    assert env.table.world.tool_pose()[1] == pytest.approx(before, abs=1e-3)
    down = np.array([0.45, 0.3, -0.2, 0.0])
    levels = [env.step(down)[4]['level'] for _ in range(25)]
    assert max(levels) >= 1, 'the safety filter is in between'
    assert env.table.world.tool_pose()[1][2] > 0.0
    assert not env.table.world.touches('table') - set(env.table.world.objects)


def test_joints_are_actions_too(gymnasium: Any) -> None:
    env = gymnasium.make(NAME, action='joints', size=16).unwrapped
    env.reset(seed=0)
    goal = np.append(np.array(env.robot.home) + 0.1, 0.0)
    for _ in range(8):
        observation, _, _, _, info = env.step(goal)
        assert not info['error']
    assert observation['joints'][:-1] == pytest.approx(goal[:-1], abs=0.01)
    env.close()


def test_unknown_names_list_the_closest(gymnasium: Any) -> None:
    for words, closest in (({'action': 'jonts'}, 'joints'), ({'suite': 'tabeltop'}, 'tabletop')):
        with pytest.raises(UnknownNameError, match=f"Did you mean '{closest}'"):
            gymnasium.make(NAME, **words)
