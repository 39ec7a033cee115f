"""Two clocks: stalls, steps, coarse stamps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.safety.clocks import Clocks

P = 0.005  # [s] period


@given(st.lists(st.floats(0.2, 3.0), min_size=5, max_size=80), st.integers(1, 4))
def test_integrated_time_is_never_more_than_a_period_ahead(config, gaps, coarse):
    """The ROS clock shows a new value every `coarse` ticks; gaps are in periods."""
    clocks = Clocks(config)
    clocks.tick(10.0, P)
    truth = shown = 10.0
    total = 0.0
    for k, gap in enumerate(gaps):
        truth += gap * P
        shown = truth if k % coarse == 0 else shown
        tick = clocks.tick(shown, gap * P)
        assert tick.now == shown and tick.fault == ''
        assert tick.step == 0.0 or 0.25 * P <= tick.step <= 2.0 * P
        total += tick.step
        assert total <= shown - 10.0 + P + 1e-12


def test_regular_ticks_are_integrated_whole(config):
    clocks = Clocks(config)
    steps = [clocks.tick(1.0 + k * P, P).step for k in range(200)]
    np.testing.assert_allclose(steps, P, atol=1e-12)


def test_a_stall_that_is_made_good_is_no_jump_but_a_step_is(config):
    clocks = Clocks(config)
    for k in range(10):
        clocks.tick(k * P, P)
    frozen = [clocks.tick(9 * P, P).fault for _ in range(40)]
    assert frozen[0] == '' and frozen[-1] == 'clock_paused'
    assert clocks.tick(49 * P, P).fault == ''  # all of it at once
    assert clocks.tick(50 * P + 2 * config.clock_step, P).fault == 'clock_step'


@pytest.mark.parametrize('back', [0.001, 0.04])
def test_a_small_step_back_waits(config, back):
    clocks = Clocks(config)
    clocks.tick(1.0, P)
    tick = clocks.tick(1.0 - back, P)
    assert tick.now == 1.0 and tick.fault == ''


@pytest.mark.parametrize('dt', [0.0, -1.0, np.nan, 1e9])
def test_junk_dt_is_a_bound(config, dt):
    clocks = Clocks(config)
    clocks.tick(1.0, P)
    tick = clocks.tick(1.0 + P, dt)
    assert 0.25 * P <= tick.step <= 2.0 * P and tick.fault == ''
