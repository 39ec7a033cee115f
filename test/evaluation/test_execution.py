"""The bench of strategies: who stalls, what it compares with, and what it refuses."""

from __future__ import annotations

import pytest

from vla_ros.errors import HorizonError, RobotPolicyMismatch, UnknownNameError
from vla_ros.evaluation.execution import Bench, Player, run

NAMES = ('panda', 'expert', 'default', 'tabletop')


def test_whoever_waits_for_an_answer_stalls_and_nobody_else():
    bench = Bench(*NAMES, 1, 0, ('crossfade', 'synchronous'), (0.0, 0.2))
    heard = []
    result = run(bench, Player(bench), 1, heard.append)
    cells = {(cell['strategy'], cell['delay_ms']): cell for cell in result['cells']}
    assert len(heard) == len(cells) == 10  # crossfade and four horizons, at two delays
    assert all(cell['success_rate'] == 1.0 for cell in cells.values())
    for delay in (0.0, 200.0):
        assert cells['crossfade', delay]['stall_seconds'] == 0.0
        best = [c for (name, d), c in cells.items() if d == delay and 'best_synchronous' in c]
        assert len(best) == 1 and best[0]['strategy'].startswith('synchronous')
    short = next(name for name, _ in cells if name.startswith('synchronous'))
    stalls = [cells[short, delay]['stall_seconds'] for delay in (0.0, 200.0)]
    assert stalls[1] > stalls[0] + 0.1
    slow, fast = (cells[short, delay]['episode_seconds'] for delay in (200.0, 0.0))
    assert slow > fast and cells[short, 200.0]['time_ratio'] == pytest.approx(slow / fast)
    assert cells['crossfade', 200.0]['mismatch'] is not None


def test_a_delay_that_no_horizon_can_bear_is_an_error():
    bench = Bench(*NAMES, 1, 0, ('latest',), (0.7,))
    with pytest.raises(HorizonError, match='chunk has 10'):
        run(bench, Player(bench), 1, lambda one: None)


def test_what_the_policy_does_not_offer_is_left_out_or_refused():
    offered = {cell.name for cell in Player(Bench(*NAMES, 1, 0, (), (0.0,))).cells}
    assert {'latest', 'crossfade', 'ensemble', 'weighted'} <= offered
    assert not offered & {'rtc', 'rtc identity', 'rtc trained', 'bid'}
    with pytest.raises(RobotPolicyMismatch, match='needs guidance'):
        Player(Bench(*NAMES, 1, 0, ('rtc',), (0.0,)))
    with pytest.raises(UnknownNameError, match="Did you mean 'latest'"):
        Bench(*NAMES, 1, 0, ('lastest',), (0.0,))
