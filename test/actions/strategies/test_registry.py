"""What holds for every strategy, and how one is made from a name and options."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.strategies import Laid, make_strategy, STRATEGIES
from vla_ros.errors import ConfigError, UnknownNameError

STEP = 0.1  # [s]
HELD = np.array([False, False, True])
ALL = [make_strategy(name, None, 'test') for name in STRATEGIES]

every = pytest.mark.parametrize('strategy', ALL, ids=list(STRATEGIES))


@st.composite
def chunks(draw, start=0.0):
    """A chunk whose gripper opens and closes, at any phase of its grid."""
    count = draw(st.integers(1, 12))
    first = start + draw(st.floats(0.0, 0.5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    gripper = rng.choice([0.0, 1.0], size=(count, 1))
    return Laid(
        first + STEP * np.arange(count),
        np.concatenate([rng.normal(size=(count, 2)), gripper], axis=1),
    )


@every
@given(new=chunks(), answers=st.lists(chunks(), max_size=3), phi=st.floats(-0.5, 1.5))
def test_without_a_plan_the_new_chunk_is_sent(strategy, new, answers, phi):
    assert (strategy.blend(new, None, answers, phi, HELD) == new.actions).all()


@every
@given(
    new=chunks(0.2), plan=chunks(), answers=st.lists(chunks(), max_size=3),
    phi=st.floats(-0.5, 1.5),
)  # fmt: skip
def test_what_was_executed_stays_and_held_channels_are_never_mixed(
    strategy, new, plan, answers, phi
):
    sent = strategy.blend(new, plan, answers, phi, HELD)
    assert sent.shape == new.actions.shape and np.isfinite(sent).all()
    covered = plan.covers(new.due)
    past = (new.due <= phi) & covered
    assert (sent[past] == plan.at(new.due, HELD)[past]).all()
    assert (sent[~covered, 2] == new.actions[~covered, 2]).all()
    later = new.due > phi + 1e-5
    assert (sent[later, 2] == new.actions[later, 2]).all()


@every
def test_an_open_close_open_gripper_takes_no_value_between(strategy):
    """Three chunks that each close at another step, on phases half a step apart."""
    pulses = []
    for k in range(3):
        gripper = np.ones(10)
        gripper[3 + k : 6 + k] = 0.0
        due = 0.05 * k + STEP * np.arange(10)
        pulses.append(Laid(due, np.stack([due, due, gripper], axis=1)))
    for phi in np.linspace(-0.1, 1.2, 40):
        sent = strategy.blend(pulses[2], pulses[1], pulses[:2], phi, HELD)
        assert set(sent[:, 2]) == {0.0, 1.0}


@every
def test_a_new_chunk_equal_to_the_plan_changes_nothing(strategy):
    due = STEP * np.arange(8)
    chunk = Laid(due, np.stack([np.sin(due), np.cos(due), due > 0.35], axis=1))
    sent = strategy.blend(chunk, chunk, [chunk], 0.25, HELD)
    assert sent == pytest.approx(chunk.actions, abs=1e-12)


def test_the_strategies():
    assert {n: (s.needs, s.waits) for n, s in zip(STRATEGIES, ALL)} == {
        'bid': ('samples', False),
        'crossfade': ('', False),
        'ensemble': ('', False),
        'latest': ('', False),
        'rtc': ('guidance', False),
        'synchronous': ('', True),
        'weighted': ('', False),
    }


def test_an_unknown_strategy_names_the_closest():
    expected = "unknown strategy 'cross_fade' in pi0.yaml. Did you mean 'crossfade'?"
    with pytest.raises(UnknownNameError) as error:
        make_strategy('cross_fade', None, 'pi0.yaml')
    assert expected in str(error.value) and 'rtc' in error.value.known


@pytest.mark.parametrize(
    'name, options, closest',
    [
        ('crossfade', {'step': 3}, 'steps'),
        ('ensemble', {'decai': 0.1}, 'decay'),
        ('weighted', {'shares': 0.1}, 'share'),
        ('bid', {'sample': 4}, 'samples'),
        ('rtc', {'jacobean': 'exact'}, 'jacobian'),
    ],
)
def test_an_unknown_option_names_the_closest(name, options, closest):
    with pytest.raises(UnknownNameError) as error:
        make_strategy(name, options, 'pi0.yaml')
    assert f"Did you mean '{closest}'?" in str(error.value)
    assert f'pi0.yaml: {name}' in str(error.value)


@pytest.mark.parametrize('name', ['latest', 'synchronous'])
def test_these_have_no_options(name):
    with pytest.raises(UnknownNameError, match='Known: \\(none\\)'):
        make_strategy(name, {'steps': 3}, 'pi0.yaml')


@pytest.mark.parametrize('name', ['crossfade', 'rtc'])
def test_what_every_strategy_declares_is_no_option(name):
    with pytest.raises(UnknownNameError):
        make_strategy(name, {'waits': True}, 'pi0.yaml')


def test_options_are_read():
    assert make_strategy('weighted', {'share': 1}, 'x') == STRATEGIES['weighted'](share=1.0)
    assert make_strategy('crossfade', {}, 'x') == make_strategy('crossfade', None, 'x')


@pytest.mark.parametrize(
    'name, options',
    [
        ('crossfade', {'steps': 0}),
        ('crossfade', {'steps': 2.5}),
        ('ensemble', {'decay': float('nan')}),
        ('ensemble', {'limit': 1}),
        ('weighted', {'share': -0.1}),
        ('weighted', {'share': 1.1}),
        ('weighted', {'share': float('nan')}),
        ('bid', {'samples': 1}),
        ('bid', {'schedule': 'expo'}),
        ('rtc', {'jacobian': 'none'}),
        ('rtc', {'schedule': 'expo'}),
        ('rtc', {'limit': 0.0}),
        ('rtc', {'limit': float('inf')}),
        ('rtc', {'limit': '5'}),
        ('latest', []),
    ],
)
def test_options_without_sense_are_refused(name, options):
    with pytest.raises(ConfigError, match=name):
        make_strategy(name, options, 'pi0.yaml')


def test_importing_them_brings_no_torch():
    code = "import sys, vla_ros.actions.strategies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], timeout=60).returncode == 0
