"""The Euler loop against closed forms of its own recurrence."""

from __future__ import annotations

import pytest
import torch

from vla_ros.errors import ConfigError
from vla_ros.models.sampler import sample, times

NOISE = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).view(2, 4, 3)


@pytest.mark.parametrize('steps', [1, 2, 5, 10])
def test_a_linear_flow_shrinks_by_the_same_factor_each_step(steps):
    found = sample(lambda x, time: 0.7 * x, NOISE, steps)
    expected = NOISE * (1.0 - 0.7 / steps) ** steps
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize('steps', [1, 2, 5, 10])
def test_a_straight_flow_ends_at_its_data_from_any_noise(steps):
    data = torch.full_like(NOISE, 0.3)

    def velocity(x, time):
        return (x - data) / time[:, None, None]  # noise - data, on the line between both

    torch.testing.assert_close(sample(velocity, NOISE, steps), data, rtol=0.0, atol=1e-12)


def test_times_fall_from_1_and_never_reach_0():
    seen = []

    def velocity(x, time):
        seen.append(time)
        return torch.zeros_like(x)

    assert torch.equal(sample(velocity, NOISE, 5), NOISE)
    assert [t.shape for t in seen] == [(2,)] * 5
    expected = [1.0 + k * (-1.0 / 5) for k in range(5)]  # transformers' own expression
    assert [float(t[0]) for t in seen] == expected


@pytest.mark.parametrize(
    'given, expected',
    [(torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2],
)
def test_time_is_as_exact_as_float32_at_least(given, expected):
    time = times(torch.zeros(3, 4, 2, dtype=given), 0.3)
    assert (time.dtype, time.shape) == (expected, (3,))


def test_a_guide_pins_before_each_step_and_after_the_last():
    class Spy:
        def __init__(self):
            self.calls = []

        def pin(self, x):
            self.calls.append('pin')
            return x + 1.0

        def velocity(self, flow, x, t):
            self.calls.append(t)
            return flow(x, times(x, t))

    spy = Spy()
    found = sample(lambda x, time: torch.zeros_like(x), NOISE, 2, spy)
    assert spy.calls == ['pin', 1.0, 'pin', 0.5, 'pin']
    torch.testing.assert_close(found, NOISE + 3.0)


@pytest.mark.parametrize('steps', [0, -1])
def test_a_sampler_without_steps_is_refused(steps):
    with pytest.raises(ConfigError, match=f'{steps} flow steps, expected at least 1'):
        sample(lambda x, time: x, NOISE, steps)
