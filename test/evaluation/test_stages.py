"""Processor time is booked whole, to the stage that it was spent in."""

from __future__ import annotations

import pytest

from vla_ros.evaluation.stages import speed, STAGES, Stages


def test_all_time_is_booked_to_the_stage_that_was_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 13.0, 16.0, 20.0])
    monkeypatch.setattr('vla_ros.evaluation.stages.time.process_time', lambda: next(clock))
    stages = Stages()
    stages.enter('network')
    stages.enter('filter')
    stages.enter('network')
    spent = stages.end()
    assert {k: v for k, v in spent.items() if v} == {'rest': 1.0, 'network': 6.0, 'filter': 3.0}
    assert set(spent) == set(STAGES)


def test_speed_is_that_of_the_episodes_whose_time_is_known() -> None:
    spent = dict.fromkeys(STAGES, 0.0) | {'network': 1.0, 'rest': 1.0}
    other = dict.fromkeys(STAGES, 0.0) | {'physics': 2.0}
    found = speed([(6.0, 40, spent), (10.0, 40, other), (1000.0, 1000, {})])
    assert found is not None
    assert (found['times_real_time_per_core'], found['frames_per_core_second']) == (4.0, 20.0)
    assert sum(found['shares'].values()) == pytest.approx(1.0)
    assert found['shares']['physics'] == 0.5
    assert speed([(1.0, 2, {})]) is None
