"""The executor: delays of the plan clock, prefixes of what was executed, what is sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_ros.actions.executor import Executor
from vla_ros.errors import HorizonError, RobotPolicyMismatch, UnknownNameError
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, Guidance, JointState, Trajectory

SPEC = PolicySpec(
    name='line',
    adapter='line',
    images=(),
    state=(),
    action=(ActionSlice('joint_position', 'rad'), ActionSlice('gripper', 'open_fraction')),
    step=0.1,
    horizon=10,
    replan_steps=4,
)
OFFERS = frozenset({'guidance', 'samples'})


class Codec:
    """Actions that are joint positions, of an arm of one joint and a gripper."""

    held = np.array([False, True])
    scale = np.ones(2)
    turns = ()

    def __init__(self, spec):
        self.policy = spec

    def absolute(self, chunk, joints):
        return chunk.actions

    def action(self, position):
        return np.asarray(position)

    def path(self, actions, start, stamp):
        return Trajectory(stamp, SPEC.step * np.arange(1, len(actions) + 1), actions)


def make(strategy='latest', offers=OFFERS, **options):
    spec = replace(SPEC, strategy=strategy, strategy_options=options)
    return Executor(Codec(spec), offers)


def answer(value=0.0, slope=1.0, steps=10, stamp=1.0):
    times = SPEC.step * np.arange(1, steps + 1)
    return ActionChunk(stamp, np.stack([value + slope * times, np.ones(steps)], axis=1), SPEC.step)


def joints():
    return JointState(1.0, np.zeros(2), np.zeros(2))


def send(executor, begun, phi, *answers):
    return executor.send(list(answers) or [answer()], joints(), begun, phi)


@pytest.mark.parametrize('strategy', ['rtc', 'bid'])
def test_what_an_adapter_does_not_offer_is_refused_before_anything_moves(strategy):
    with pytest.raises(RobotPolicyMismatch, match=f"strategy '{strategy}' needs"):
        make(strategy, offers=frozenset())
    with pytest.raises(RobotPolicyMismatch, match='trained prefix'):
        make('rtc', jacobian='trained')


def test_an_unknown_strategy_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'crossfade'"):
        make('crosfade')


def test_a_chunk_is_due_by_plan_time_not_by_calls_or_by_the_wall_clock():
    """The filter may halve the clock or stop it: what counts is what was executed."""
    executor = make()
    assert executor.due(0.0) and executor.due(0.0)
    send(executor, 0.0, 0.05)
    for phi in (0.05, 0.05, 0.2, 0.39):
        assert not executor.due(phi)
    assert executor.due(0.4)


def test_a_delay_is_what_was_executed_meanwhile_without_the_warm_up():
    executor = make()
    send(executor, 0.0, 0.9)  # the first inference is slow
    assert executor.delay.steps == 0
    send(executor, 1.0, 1.15)
    assert executor.delay.steps == 2
    send(executor, 2.0, 2.0)  # the clock stood: nothing was executed
    assert executor.delay.steps == 2 and executor.horizon == 4


def test_the_horizon_keeps_room_for_the_delay():
    executor = make()
    for _ in range(2):
        send(executor, 0.0, 0.5)
    assert executor.delay.steps == 5 and executor.horizon == 5  # H - d


def test_one_slow_inference_is_no_error_but_many_are():
    executor = make()
    for phi in (0.1, 0.1, 0.1, 0.9):
        send(executor, 0.0, phi)
    assert executor.delay.steps == 9 and executor.horizon == 4
    for _ in range(9):
        send(executor, 0.0, 0.7)
    with pytest.raises(HorizonError, match='delay is 7 steps'):
        executor.due(1.0)


def test_a_prefix_is_what_was_executed_and_then_what_is_planned():
    executor = make('rtc')
    send(executor, 0.0, 0.0)
    for phi in np.arange(0.0, 0.6, 0.005):  # the filter held the arm 0.3 behind
        executor.executed(phi, np.array([phi - 0.3, 1.0]))
    prefix = executor.prefix(0.35, 0.57)
    # Due at 0.45 and 0.55: executed; from 0.65 on: planned; the plan ends at 1.0.
    np.testing.assert_allclose(prefix.actions[:, 0], [0.15, 0.25, 0.65, 0.75, 0.85, 0.95])
    assert prefix.guidance == Guidance('exact', 'exp', 5.0)
    assert (prefix.delay, prefix.horizon) == (0, 4)


def test_the_second_chunk_reckons_with_what_an_inference_takes():
    executor = make('rtc')
    executor.expect(0.22)
    send(executor, 0.0, 0.0)  # nothing ran meanwhile: no delay to measure
    assert executor.prefix(0.1, 0.1).delay == 3
    executor.expect(60.0)
    assert executor.prefix(0.1, 0.1).delay == 5  # half a chunk, and no error
    executor.due(0.1)


def test_while_the_clock_stands_the_way_stays_and_its_last_place_is_the_newest():
    executor = make('rtc')
    send(executor, 0.0, 0.0)
    for phi in np.arange(0.0, 0.31, 0.01):
        executor.executed(phi, np.array([phi - 0.3, 1.0]))
    for k in range(2000):
        executor.executed(0.3, np.array([0.01 + 1e-6 * k, 1.0]))
    prefix = executor.prefix(0.1, 0.3)
    np.testing.assert_allclose(prefix.actions[:2, 0], [-0.1, 0.012], atol=1e-5)


def test_a_prefix_is_never_padded():
    executor = make('rtc')
    assert executor.prefix(0.0, 0.0) is None
    send(executor, 0.0, 0.0)
    assert len(executor.prefix(0.0, 0.0).actions) == 10
    assert len(executor.prefix(0.75, 0.75).actions) == 2
    assert executor.prefix(1.0, 1.0) is None


def test_a_reset_forgets_the_plan_and_what_was_executed():
    executor = make('crossfade')
    send(executor, 0.0, 0.0)
    executor.reset()
    assert executor.prefix(0.1, 0.1) is None and executor.due(0.1)
    sent = send(executor, 0.1, 0.1, answer(5.0))
    np.testing.assert_allclose(sent.trajectory.positions[:, 0], answer(5.0).actions[:, 0])


def test_a_crossfade_leaves_the_plan_only_after_now():
    executor = make('crossfade')
    send(executor, 0.0, 0.0)
    sent = send(executor, 0.4, 0.6, answer(1.4))  # where 0.4 would go on
    positions = sent.trajectory.positions[:, 0]
    np.testing.assert_allclose(positions[:2], [0.5, 0.6], atol=1e-12)  # executed by now
    np.testing.assert_allclose(positions[5:], answer(1.4).actions[5:, 0])
    assert (np.diff(positions) > 0.0).all()
    np.testing.assert_allclose(sent.mismatch, [1.0, 0.0])


def test_synchronous_execution_walks_its_steps_to_the_end_and_then_asks():
    executor = make('synchronous')
    sent = send(executor, 0.0, 0.2)
    assert len(sent.trajectory.times) == SPEC.replan_steps
    assert executor.prefix(0.3, 0.3) is None
    assert not executor.due(0.39) and executor.due(0.3999)


def test_of_several_answers_the_one_that_goes_on_with_the_plan_is_sent():
    executor = make('bid', samples=3)
    assert executor.samples == 3
    send(executor, 0.0, 0.0, *[answer()] * 3)
    answers = [answer(value) for value in (0.9, 0.45, -0.3)]
    sent = send(executor, 0.4, 0.5, *answers)
    np.testing.assert_allclose(sent.trajectory.positions[3:, 0], answers[1].actions[3:, 0])


def test_a_gripper_that_opens_and_closes_again_is_never_averaged():
    shut = answer()
    blink = shut.actions.copy()
    blink[:, 1] = [1, 1, 0, 0, 1, 1, 0, 1, 0, 1]
    for strategy in ('latest', 'crossfade', 'ensemble', 'weighted', 'rtc'):
        executor = make(strategy)
        send(executor, 0.0, 0.0, shut)
        sent = send(executor, 0.33, 0.38, ActionChunk(1.1, blink, SPEC.step))
        assert set(sent.trajectory.positions[:, 1]) <= {0.0, 1.0}
        np.testing.assert_array_equal(sent.trajectory.positions[:, 1], blink[:, 1])
