"""Studies of hazards: figures by hand, the same from a log, and what the cells must show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.metrics import Outcome
from vla_ros.evaluation.report import study_table
from vla_ros.evaluation.study import cell, figures, make_study, paired, Played, run, Study
from vla_ros.sim.tasks import TASKS

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

REACH = 'name: reach\ntasks: [reach]\nfirst_seed: 1000000000\n'


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return one reach, in every cell of two modes."""
    suite = tmp_path / 'reach.yaml'
    suite.write_text(REACH)
    hazards, modes = ('none', 'beside', 'on'), ('path+cbf', 'off')
    return Study('panda', 'expert', 'default', str(suite), hazards, modes, 1, 3)


def test_paired_differences_by_hand() -> None:
    ours = [True] * 60 + [False] * 10 + [True] * 5 + [False] * 25
    theirs = [True] * 60 + [True] * 10 + [False] * 5 + [False] * 25
    found = paired(ours, theirs)
    assert (found['gained'], found['lost']) == (5, 10)
    assert found['difference'] == pytest.approx(-0.05)
    # b = 5.5, c = 10.5, n = 102: -0.04902 +- 1.95996 * sqrt(16 - 25 / 102) / 102
    assert found['interval_95'] == pytest.approx([-0.12530, 0.02726], abs=1e-4)


def test_a_cell_counts_contacts_deadlocks_and_success_without_contact(outcome: Outcome) -> None:
    hit = replace(outcome, hazard='on', contact=True, displaced=0.03, min_distance=-0.001)
    stuck = replace(outcome, hazard='on', success=False, deadlock=True, min_distance=0.018)
    fine = replace(outcome, hazard='on')
    found = cell([hit, stuck, fine, fine], [outcome] * 4)
    assert found['success_rate'] == 0.75
    assert found['safe_success_rate'] == 0.5
    assert (found['contacts'], found['contact_rate']) == (1, 0.25)
    assert (found['displaced'], found['deadlocks']) == (1, 1)
    assert found['min_distance_m'] == -0.001
    assert found['against_none']['lost'] == 2


def test_a_table_has_a_line_for_each_cell(outcome: Outcome, study: Study) -> None:
    played = [
        Played(0, mode, replace(outcome, hazard=hazard))
        for hazard in study.hazards
        for mode in study.modes
    ]
    found = figures(study, played)
    assert [(c['hazard'], c['mode']) for c in found['cells']] == [
        (h, m) for h in study.hazards for m in study.modes
    ]
    lines = study_table(found).splitlines()
    assert len(lines) == 1 + len(played)
    assert 'points' in lines[-1]
    assert 'points' not in lines[1]


def test_all_names_every_hazard_and_mode(study: Study) -> None:
    names = (study.robot, study.policy, study.safety, study.suite)
    every = make_study(*names, 'all', 'all', 5, 0)
    assert every.hazards == ('none', 'beside', 'on')
    assert {'path', 'cbf', 'path+cbf', 'stop', 'off'} == set(every.modes)
    assert make_study(*names, 'on', None, 5, 0).modes == ('path+cbf',)
    with pytest.raises(UnknownNameError, match="Did you mean 'beside'"):
        make_study(*names, 'besides', None, 5, 0)
    with pytest.raises(UnknownNameError, match="Did you mean 'cbf'"):
        make_study(*names, 'on', 'cdf', 5, 0)


def test_the_filter_keeps_clear_where_the_expert_alone_collides(
    study: Study, tmp_path: Path
) -> None:
    """Also: two processes give what one gives, and what a log holds is not played again."""
    log, heard = tmp_path / 'log' / 'study.jsonl', []
    found = run(study, 1, log, heard.append)
    cells = {(c['hazard'], c['mode']): c for c in found['cells']}
    assert cells['none', 'path+cbf']['success_rate'] == 1.0
    assert cells['on', 'path+cbf']['contacts'] == 0
    assert cells['on', 'path+cbf']['min_distance_m'] > 0.005
    assert cells['on', 'off']['contacts'] == 1
    assert cells['on', 'off']['safe_success_rate'] == 0.0
    assert cells['beside', 'path+cbf']['contacts'] == 0
    assert len(heard) == 6
    lines = log.read_text().splitlines()
    log.write_text('\n'.join(lines[:-2]) + '\n{"index": 0, "mo')  # killed while it wrote
    again = run(study, 2, log, heard.append)
    assert again['cells'] == found['cells']
    with pytest.raises(ConfigError, match='name another file'):
        run(replace(study, seed=4), 1, log, heard.append)


def test_an_episode_that_stands_still_for_long_is_a_deadlock(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Braking only, in front of a thing on the path, nothing moves any more."""
    monkeypatch.setitem(TASKS, 'reach', replace(TASKS['reach'], time_limit=6.0))
    found = run(replace(study, hazards=('on',), modes=('stop',)), 1, None, lambda one: None)
    (only,) = found['cells']
    assert (only['success_rate'], only['contacts'], only['deadlocks']) == (0.0, 0, 1)
