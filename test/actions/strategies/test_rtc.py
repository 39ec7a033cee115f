"""Real-time chunking: what is asked of the policy, and what is left to do after it."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.actions.strategies import Laid, make_strategy
from vla_ros.actions.strategies.crossfade import Crossfade
from vla_ros.actions.strategies.rtc import RealTimeChunking
from vla_ros.errors import UnknownNameError
from vla_ros.types import Guidance


@pytest.mark.parametrize(
    'jacobian, needs',
    [('exact', 'guidance'), ('identity', 'guidance'), ('trained', 'trained prefix')],
)
def test_needs(jacobian, needs):
    assert RealTimeChunking(jacobian).needs == needs


def test_guidance_passes_the_options_on():
    strategy = make_strategy('rtc', {'jacobian': 'identity', 'schedule': 'linear'}, 'x')
    assert strategy.guidance == Guidance('identity', 'linear', 5.0)
    assert RealTimeChunking(limit=10.0).guidance == Guidance('exact', 'exp', 10.0)


@pytest.mark.parametrize(
    'options, closest',
    [({'jacobian': 'exakt'}, 'exact'), ({'schedule': 'lineal'}, 'linear')],
)
def test_a_misspelt_word_names_the_closest(options, closest):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{closest}'"):
        make_strategy('rtc', options, 'pi0.yaml')


def test_what_the_guidance_leaves_open_is_faded_out():
    due = 0.1 * np.arange(1, 9)
    plan = Laid(due, np.zeros((8, 2)))
    new = Laid(due + 0.05, np.arange(16.0).reshape(8, 2) + 1.0)
    held = np.array([False, True])
    sent = RealTimeChunking(fade=2).blend(new, plan, (), 0.3, held)
    np.testing.assert_array_equal(sent, Crossfade(2).blend(new, plan, (), 0.3, held))
    assert (sent[:2] == 0.0).all() and (sent[4:] == new.actions[4:]).all()
