"""Whole evaluations: keys, controls, the same figures from one process and from two."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import pytest

from vla_ros.cli.output import plain
from vla_ros.errors import UnknownNameError
from vla_ros.evaluation.figures import figures
from vla_ros.evaluation.runner import CONTROLS, Evaluation, jobs, Played, run
from vla_ros.sim.tasks import TASKS

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

REACH = 'name: reach\ntasks: [reach]\nfirst_seed: 1000000000\n'
KEYS = {
    'suite', 'policy', 'safety', 'episodes', 'success_rate', 'wilson_95', 'per_task',
    'collision_rate', 'mean_steps', 'intervention_rate', 'instruction_following', 'controls',
}  # fmt: skip


def evaluation(folder: Path, episodes: int, control_episodes: int) -> Evaluation:
    suite = folder / 'reach.yaml'
    suite.write_text(REACH)
    return Evaluation('panda', ('expert',), 'default', str(suite), episodes, 5, control_episodes)


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    small = evaluation(tmp_path, 2, 0)
    one = run(small, 1, lambda one: None)
    two = run(small, 2, lambda one: None)
    assert one == two


def test_every_control_is_also_played_by_the_expert(tmp_path: Path) -> None:
    work = jobs(replace(evaluation(tmp_path, 3, 2), policies=('hold',)))
    for name in CONTROLS:
        mine, chance = (
            [i for i, cell in work if (cell.policy, cell.trial.axis) == (policy, name)]
            for policy in ('hold', 'expert')
        )
        assert mine == chance
        assert len(mine) == 2


def test_figures_and_controls_have_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=2.5))
    small = evaluation(tmp_path, 2, 1)
    played: list[Played] = []
    found = figures(small, run(small, 1, played.append))
    assert len(played) == len(jobs(small)) == 2 + 2
    assert set(found) >= KEYS
    assert (found['episodes'], found['success_rate']) == (2, 1.0)
    assert found['instruction_following'] == 1.0
    for name in CONTROLS:
        assert found['controls'][name]['episodes'] == 1
        # the expert is its own chance level
        assert found['controls'][name]['success_rate'] == found['controls'][name]['chance']
    json.dumps(plain(found), allow_nan=False)


@pytest.mark.parametrize(
    ('field', 'name', 'closest'),
    [
        ('robot', 'pand', 'panda'),
        ('policies', 'tiny_pi', 'tiny_pi0'),
        ('safety', 'defualt', 'default'),
        ('suite', 'tabeltop', 'tabletop'),
    ],
)
def test_an_unknown_name_lists_the_closest(field: str, name: str, closest: str) -> None:
    small = Evaluation('panda', ('expert',), 'default', 'tabletop', 1, 0)
    value = (name,) if field == 'policies' else name
    with pytest.raises(UnknownNameError, match=f"Did you mean '{closest}'"):
        run(replace(small, **{field: value}), 1, lambda one: None)
