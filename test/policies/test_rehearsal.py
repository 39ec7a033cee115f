"""The first inference, before anything moves."""

from __future__ import annotations

from dataclasses import replace
from time import sleep

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.errors import PolicyError
from vla_ros.policies.registry import create
from vla_ros.policies.rehearsal import rehearse
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec

ROBOT = load_robot(paths.find('robots', 'panda'))
HOLD = config.load(paths.find('policies', 'hold'), PolicySpec)


class Changed:
    """A policy whose answers something happens to."""

    def __init__(self, change) -> None:
        self._policy = create(HOLD, ROBOT)
        self._change = change
        self.spec, self.reset, self.offers = HOLD, self._policy.reset, frozenset()

    def infer(self, obs, prefix=None):
        chunk = self._policy.infer(obs, prefix)
        return replace(chunk, actions=self._change(chunk.actions.copy()))


def hole(actions):
    actions[-1, 0] = np.nan
    return actions


def test_the_first_inference_does_not_count():
    calls = []

    def slow_at_first(actions):
        calls.append(1)
        sleep(0.5 if len(calls) == 1 else 0.0)
        return actions

    assert 0.0 < rehearse(Changed(slow_at_first), ROBOT) < 0.5
    assert len(calls) == 2


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda actions: actions[1:], r'shape \(\d+, \d\), expected'),
        (hole, "not finite: its weights are damaged, or too large for dtype 'float32'"),
        (lambda actions: actions + np.inf, 'not finite'),
        (lambda actions: 1 // 0, 'cannot answer: ZeroDivisionError'),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(change, match):
    rehearse(Changed(lambda actions: actions), ROBOT)
    with pytest.raises(PolicyError, match=match):
        rehearse(Changed(change), ROBOT)
