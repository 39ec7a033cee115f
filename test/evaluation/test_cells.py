"""Cells of an evaluation: figures by hand, tables, and what hazards must show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.eval_report import film_failures, page
from vla_ros.evaluation.figures import cell_figures, figures
from vla_ros.evaluation.metrics import Outcome
from vla_ros.evaluation.report import cell_table
from vla_ros.evaluation.runner import Cell, Evaluation, Played, Player, run
from vla_ros.evaluation.suite import Trial
from vla_ros.safety.config import MODES
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import TASKS

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

REACH = """name: reach
tasks: [reach]
first_seed: 1000000000
hazards: [beside, 'on']
severities: [2]
"""


@pytest.fixture
def study(tmp_path: Path) -> Evaluation:
    """Return one reach, in every cell of two modes."""
    suite = tmp_path / 'reach.yaml'
    suite.write_text(REACH)
    return Evaluation('panda', ('expert',), 'default', str(suite), 1, 3, 0, ('path+cbf', 'off'))


def test_a_cell_counts_contacts_deadlocks_and_success_without_contact(outcome: Outcome) -> None:
    hit = replace(
        outcome, hazard='on', contact=True, struck_moving=True, displaced=0.03, min_distance=-0.001
    )
    stuck = replace(outcome, hazard='on', success=False, deadlock=True, min_distance=0.018)
    fine = replace(outcome, hazard='on')
    met = replace(outcome, hazard='hand', success=False, contact=True)  # by a hand, at rest
    found = cell_figures([hit, stuck, fine, fine, met])
    assert found['success_rate'] == 0.6
    assert found['safe_success_rate'] == 0.4
    assert (found['contacts'], found['collision_avoidance_rate']) == (2, 0.8)
    assert (found['struck_moving'], found['struck_at_rest']) == (1, 1)
    assert found['unsafe_successes'] == 1
    assert (found['displaced'], found['deadlocks']) == (1, 1)
    assert found['min_distance_m'] == -0.001


def test_cells_compare_with_their_reference_and_with_the_first_policy(outcome: Outcome) -> None:
    both = Evaluation(
        'panda', ('expert', 'hold'), 'default', 'perturbed', 4, 0, 0, (), ('camera',), (2, 5)
    )
    assert [str(cell.trial) for cell in both.cells] == 2 * ['none', 'camera 2', 'camera 5']
    lost = {('expert', 'camera 5'): {0, 1}, ('hold', 'none'): {0}, ('hold', 'camera 5'): {1, 2, 3}}
    played = [
        Played(index, cell, replace(
            outcome, seed=index, success=index not in lost.get((cell.policy, str(cell.trial)), ())
        ))
        for cell in both.cells for index in range(4)
    ]  # fmt: skip
    found = figures(both, played)
    rows = {(row['policy'], row['name']): row for row in found['cells']}
    assert found['success_rate'] == 1.0
    assert found['mean_change'] == pytest.approx((0.0 - 0.5) / 2)  # of the first policy
    assert rows['expert', 'none']['against_reference'] is None
    assert rows['expert', 'camera 5']['against_reference']['lost'] == 2
    against = rows['hold', 'camera 5']['against_reference']
    assert (against['gained'], against['lost'], against['p_value']) == (1, 3, 0.625)
    assert rows['hold', 'none']['against_first']['difference'] == -0.25
    assert rows['hold', 'camera 5']['against_first']['difference'] == -0.25
    lines = cell_table(found).splitlines()
    assert len(lines) == 1 + 6 + 1
    assert lines[-1].endswith('-25.0 points')
    text = page(found, played, {})
    assert text.count('<tr><td>reach the ball</td>') == 6  # a row for each failure
    assert 'src=' not in text and 'href=' not in text  # it loads nothing


def test_what_is_not_there_is_refused(study: Evaluation) -> None:
    assert set(replace(study, modes=MODES).modes) == {'path', 'cbf', 'path+cbf', 'stop', 'off'}
    assert [cell.trial for cell in replace(study, modes=(), axes=('on',)).cells] == [
        Trial('none'),
        Trial('on', 2.0),
    ]
    with pytest.raises(UnknownNameError, match="Did you mean 'beside'"):
        replace(study, axes=('besides',))
    with pytest.raises(UnknownNameError, match="Did you mean 'cbf'"):
        replace(study, modes=('cdf',))
    with pytest.raises(ConfigError, match='no severity 3'):
        replace(study, severities=(3,))
    with pytest.raises(ConfigError, match='has no controls'):
        replace(study, control_episodes=1)


def test_the_filter_keeps_clear_where_the_expert_alone_collides(
    study: Evaluation, tmp_path: Path
) -> None:
    """Also: two processes give what one gives, and what a log holds is not played again."""
    log, heard = tmp_path / 'log' / 'study.jsonl', []
    played = run(study, 1, heard.append, log)
    cells = {(c['axis'], c['mode']): c for c in figures(study, played)['cells']}
    assert cells['none', 'path+cbf']['success_rate'] == 1.0
    assert cells['on', 'path+cbf']['contacts'] == cells['on', 'path+cbf']['displaced'] == 0
    assert cells['on', 'path+cbf']['min_distance_m'] > 0.005
    assert cells['on', 'off']['contacts'] == cells['on', 'off']['struck_moving'] == 1
    assert cells['on', 'off']['safe_success_rate'] == 0.0
    assert cells['on', 'off']['against_reference'] is None  # which plays other episodes
    assert cells['beside', 'path+cbf']['contacts'] == 0
    assert len(heard) == 6
    lines = log.read_text().splitlines()
    log.write_text('\n'.join(lines[:-2]) + '\n{"index": 0, "mo')  # killed while it wrote
    assert run(study, 2, heard.append, log) == played
    with pytest.raises(ConfigError, match='name another file'):
        run(replace(study, seed=4), 1, heard.append, log)


def test_an_episode_that_stands_still_for_long_is_a_deadlock(
    study: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Braking only, in front of a thing on the path, nothing moves any more."""
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=6.0))
    stopped = replace(study, modes=('stop',), axes=('on',))
    _, only = figures(stopped, run(stopped, 1, lambda one: None))['cells']
    assert (only['success_rate'], only['contacts'], only['deadlocks']) == (0.0, 0, 1)


def test_failures_are_filmed_as_they_went_and_shown_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=0.5))
    suite = tmp_path / 'reach.yaml'
    suite.write_text('name: reach\ntasks: [reach]\nfirst_seed: 1000000000\n')
    short = Evaluation('panda', ('expert',), 'default', str(suite), 2, 0)
    player = Player(short)
    played = run(short, 1, lambda one: None, None, player)
    assert [one.outcome.success for one in played] == [False, False]
    again: list[Played] = []

    def play(index: int, cell: Cell, film: Callable[[Tabletop], None]) -> Played:
        again.append(player.play(index, cell, film))
        return again[-1]

    films = film_failures(played, play, tmp_path / 'films', 0.005)
    assert again == played
    for path in films.values():
        video = cv2.VideoCapture(str(path))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5  # one every 0.1 s
        assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    text = page(figures(short, played), played, films)
    assert text.count('src="data:video/mp4;base64,') == len(films) == 2
    assert '0.0 % [0.0, 65.8]' in text
