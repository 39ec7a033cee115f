"""Real-time chunking: what is asked of the policy, and what is left to do after it."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.actions.strategies import Laid, make_strategy
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


def test_the_answer_is_sent_after_phi_as_it_is():
    due = 0.1 * np.arange(1, 6)
    plan = Laid(due, np.zeros((5, 2)))
    new = Laid(due + 0.05, np.arange(10.0).reshape(5, 2) + 1.0)
    sent = RealTimeChunking().blend(new, plan, (), 0.3, np.array([False, True]))
    assert (sent[:2] == 0.0).all() and (sent[2:] == new.actions[2:]).all()
