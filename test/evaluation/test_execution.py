"""The bench of strategies: who stalls, what it compares with, and what it refuses."""

from __future__ import annotations

import pytest

from vla_ros.errors import ConfigError, HorizonError, RobotPolicyMismatch, UnknownNameError
from vla_ros.evaluation.execution import Bench, Player, run

NAMES = ('panda', 'expert', 'default', 'tabletop')


def test_a_run_goes_on_from_its_log_and_shows_the_same(tmp_path):
    bench, log = Bench(*NAMES, 2, 0, ('latest', 'crossfade'), (0.1,)), tmp_path / 'log.jsonl'
    player = Player(bench)
    whole = run(bench, player, 1, log, lambda one: None)
    lines = log.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 4
    log.write_text(''.join(lines[:3]) + lines[3][:40])  # cut short while it was written
    heard = []
    again = run(bench, player, 1, log, heard.append)
    assert len(heard) == 4
    for mine, theirs in zip(again['cells'], whole['cells'], strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in theirs.items():
            number = isinstance(value, float)  # the log has six digits
            assert mine[key] == (pytest.approx(value, rel=1e-4) if number else value)
    assert whole['cells'][0]['seam_velocity_ratio'] > 0.0
    other = Bench(*NAMES, 3, 0, ('latest', 'crossfade'), (0.1,))
    with pytest.raises(ConfigError, match='name another file'):
        run(other, player, 1, log, heard.append)


def test_whoever_waits_for_an_answer_stalls_and_nobody_else():
    bench = Bench(*NAMES, 1, 0, ('crossfade', 'synchronous'), (0.0, 0.2))
    heard = []
    result = run(bench, Player(bench), 1, None, heard.append)
    cells = {(cell['strategy'], cell['delay_ms']): cell for cell in result['cells']}
    assert len(heard) == len(cells) == 10  # crossfade and four horizons, at two delays
    assert all(cell['success_rate'] == 1.0 for cell in cells.values())
    for delay in (0.0, 200.0):
        assert cells['crossfade', delay]['stall_seconds'] == 0.0
        best = [c for (name, d), c in cells.items() if d == delay and 'best_synchronous' in c]
        assert len(best) == 1 and best[0]['strategy'].startswith('synchronous')
    short = next(name for name, _ in cells if name.startswith('synchronous'))
    stalls = [cells[short, delay]['stall_seconds'] for delay in (0.0, 200.0)]
    assert stalls[1] > stalls[0] + 0.03  # the clock crawls up to the end before it
    slow, fast = (cells[short, delay]['episode_seconds'] for delay in (200.0, 0.0))
    assert slow > fast and cells[short, 200.0]['time_ratio'] == pytest.approx(slow / fast)
    assert cells['crossfade', 200.0]['mismatch'] is not None


def test_a_delay_that_no_horizon_can_bear_is_an_error():
    bench = Bench(*NAMES, 1, 0, ('latest',), (0.7,))
    with pytest.raises(HorizonError, match='chunk has 10'):
        run(bench, Player(bench), 1, None, lambda one: None)


def test_what_the_policy_does_not_offer_is_left_out_or_refused():
    offered = {cell.name for cell in Player(Bench(*NAMES, 1, 0, (), (0.0,))).cells}
    assert {'latest', 'crossfade', 'ensemble', 'weighted'} <= offered
    assert not offered & {'rtc', 'rtc identity', 'rtc trained', 'bid'}
    with pytest.raises(RobotPolicyMismatch, match='needs guidance'):
        Player(Bench(*NAMES, 1, 0, ('rtc',), (0.0,)))
    with pytest.raises(UnknownNameError, match="Did you mean 'latest'"):
        Bench(*NAMES, 1, 0, ('lastest',), (0.0,))
