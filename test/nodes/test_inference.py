"""The inference worker: what is published for which instruction, and what never is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
import itertools
import threading
from time import monotonic, sleep

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.actions.executor import Executor
from vla_ros.errors import PolicyError, ShapeError
from vla_ros.nodes.inference import FAILURES, Inference, WINDOW
from vla_ros.nodes.loading import Loaded
from vla_ros.nodes.observation import Assembler
from vla_ros.policies.base import chunk_seed
from vla_ros.spec import PolicySpec
from vla_ros.status import ExecutionState, PolicyPhase, RunCode
from vla_ros.types import ActionChunk, Frame, JointState, Trajectory

SPEC = config.load(paths.find('policies', 'hold'), PolicySpec)


class Codec:
    """Actions that are joint positions, of an arm of two joints."""

    policy = replace(SPEC, strategy='rtc')  # which asks for prefixes
    held = np.zeros(2, dtype=bool)
    scale = np.ones(2)
    turns = ()

    def absolute(self, chunk, joints):
        return chunk.actions

    def action(self, position):
        return position

    def path(self, actions, start, stamp):
        return Trajectory(stamp, SPEC.step * np.arange(1, len(actions) + 1), actions)


class Rig:
    """A worker between a fake clock, a scripted policy and a list of what was sent."""

    spec = SPEC
    offers = frozenset()

    def __init__(self) -> None:
        self.time = 100.0
        self.sent: list = []  # (trajectory, provenance)
        self.resets: list = []
        self.prefixes: list = []
        self.before_answer = lambda: None
        self.assembler = Assembler((), lambda message: message, max_age=0.5)
        self.executor = Executor(Codec(), frozenset({'guidance'}))
        loaded = Loaded(self, self.executor)
        seeds = partial(chunk_seed, 5)
        self.worker = Inference(loaded, self.assembler, self.publish, lambda: self.time, seeds)

    def reset(self, instruction, *, seed):
        self.resets.append((instruction, seed))

    def infer(self, obs, prefix=None):
        self.prefixes.append(prefix)
        self.before_answer()
        actions = np.full((SPEC.horizon, 2), obs.stamp)
        return ActionChunk(obs.stamp, actions, SPEC.step, {'inference': 0.02})

    def publish(self, trajectory, provenance):
        self.sent.append((trajectory, provenance))

    def tick(self, dt: float = 0.01) -> None:
        """Let time pass and a joint state arrive, which gives the next observation."""
        self.time += dt
        self.assembler.add_joints(JointState(self.time, np.zeros(2), np.zeros(2)), self.time)

    def accept(self, rate: float = 1.0) -> None:
        """Say, as the safety filter does, that the newest chunk is in use."""
        stamp = self.sent[-1][0].stamp if self.sent else None
        begun, rest = stamp or 0.0, np.zeros(2)
        state = ExecutionState(self.time, self.time, rate, stamp, begun, ('a', 'b'), rest, rest, 0)
        self.worker.executed(state)


@pytest.fixture
def rig():
    rig = Rig()
    rig.tick()
    return rig


def test_what_is_short_is_urgent_and_the_network_is_not(rig, monkeypatch):
    """An inference that went before everything of normal priority would starve it."""
    inside, order = [], []

    @contextmanager
    def urgently():
        inside.append(None)
        try:
            yield
        finally:
            inside.pop()

    def noted(name, work):
        return lambda *a: order.append((name, bool(inside))) or work(*a)

    monkeypatch.setattr(rig.assembler, 'assemble', noted('assemble', rig.assembler.assemble))
    monkeypatch.setattr(rig.executor, 'send', noted('send', rig.executor.send))
    rig.before_answer = noted('network', lambda: None)
    worker = Inference(
        Loaded(rig, rig.executor), rig.assembler, noted('publish', rig.publish),
        lambda: rig.time, partial(chunk_seed, 5), urgently=urgently,
    )  # fmt: skip
    worker.begin('reach it', 60.0, until_success=False)
    assert worker.step() and not inside
    assert order == [('assemble', True), ('network', False), ('send', True), ('publish', True)]

    def fail():
        raise PolicyError('no answer')

    rig.tick()
    rig.before_answer = fail
    worker.step()
    assert not inside, 'a failure ends what is urgent too'


def test_nothing_is_sent_before_an_instruction(rig):
    assert not rig.worker.step()
    assert rig.sent == []


def test_one_chunk_is_sent_and_the_next_only_when_its_steps_are_consumed(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    assert rig.worker.step()
    rig.accept()
    rig.tick()
    assert not rig.worker.step()
    for _ in range(30):
        rig.tick()
    assert rig.worker.step()
    stamps = [trajectory.stamp for trajectory, _ in rig.sent]
    assert len(stamps) == 2
    assert stamps[0] < stamps[1]


def test_provenance_names_inputs_seed_and_times(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    trajectory, provenance = rig.sent[0]
    assert provenance.instruction == 'reach it'
    assert provenance.instruction_id == 1
    assert provenance.input_stamps == {'joint_states': trajectory.stamp}
    assert provenance.timings['inference'] == 0.02
    assert rig.resets == [('reach it', chunk_seed(5, 1))]
    assert provenance.seed == chunk_seed(chunk_seed(5, 1), 0)


def test_provenance_is_enough_to_ask_the_policy_again(rig):
    """Each chunk tells the reset, the place since it, the prefix, and the answer to those."""
    rig.worker.begin('reach it', 60.0, until_success=False)
    for _ in range(3):
        assert rig.worker.step()
        rig.accept()
        for _ in range(30):
            rig.tick()
            rig.accept()
    told = [provenance for _, provenance in rig.sent]
    ((_, reset_seed),) = rig.resets
    assert [p.policy for p in told] == [SPEC.name] * 3
    assert [(p.instruction_seed, p.inference) for p in told] == [(reset_seed, k) for k in range(3)]
    assert [p.seed for p in told] == [chunk_seed(p.instruction_seed, p.inference) for p in told]
    assert [p.prefix for p in told] == rig.prefixes
    for trajectory, provenance in rig.sent:
        expected = np.full((SPEC.horizon, 2), trajectory.stamp)
        np.testing.assert_array_equal(provenance.actions, expected)


def test_the_same_seed_gives_the_same_seeds_to_the_same_chunks():
    seeds = []
    for _ in range(2):
        rig = Rig()
        for text in ('reach it', 'push it'):
            rig.worker.begin(text, 60.0, until_success=False)
            for _ in range(3):
                for _ in range(60):
                    rig.tick()
                rig.worker.step()
        seeds.append([p.seed for _, p in rig.sent if p is not None])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 6


def test_a_new_instruction_in_mid_motion_cancels_the_plan_at_once_and_wants_a_newer_picture(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    rig.time += 0.2  # the only chunk so far took longer than a new one may
    rig.worker._window[0] = (0.0, 0.0, 0.0, 0.2, 0.0, 0.2, 0.0)
    rig.worker.begin('push it', 60.0, until_success=False)
    stop, provenance = rig.sent[-1]
    assert len(stop.times) == 0
    assert provenance is None
    assert stop.stamp == rig.time
    assert not rig.worker.step(), 'the inputs are older than the stop'
    rig.tick()
    assert rig.worker.step()
    assert rig.sent[-1][1].instruction == 'push it'
    assert rig.sent[-1][0].stamp > stop.stamp


def test_a_fast_policy_needs_no_stop_between_two_instructions(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    rig.worker._window[0] = (0.0, 0.0, 0.0, 0.01, 0.0, 0.02, 0.0)
    rig.worker.begin('push it', 60.0, until_success=False)
    rig.tick()
    rig.worker.step()
    assert [len(trajectory.times) for trajectory, _ in rig.sent] == [20, 20]


def test_the_result_in_flight_of_an_old_instruction_is_dropped(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.before_answer = lambda: rig.worker.begin('push it', 60.0, until_success=False)
    rig.worker.step()
    assert rig.sent == []
    assert rig.worker.discarded == 1
    rig.before_answer = lambda: rig.worker.stop(RunCode.CANCELED, 'stopped')
    rig.tick()
    rig.worker.step()
    assert [len(trajectory.times) for trajectory, _ in rig.sent] == [0]
    assert rig.worker.discarded == 2


@pytest.mark.parametrize('begins', [True, False])
def test_what_the_executor_knew_is_forgotten_with_the_result_in_flight(rig, begins):
    def interrupt():
        rig.before_answer = lambda: None
        if begins:
            rig.worker.begin('push it', 60.0, until_success=False)
        else:
            rig.worker.stop(RunCode.CANCELED, 'stopped')

    rig.accept()
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    for _ in range(30):
        rig.accept()
        rig.tick()
    rig.before_answer = interrupt
    rig.worker.step()
    assert rig.prefixes[-1] is not None, 'there was a plan to go on from'
    assert rig.worker.discarded == 1
    if not begins:
        rig.worker.begin('push it', 60.0, until_success=False)
    rig.tick()
    rig.worker.step()
    assert rig.sent[-1][1].instruction == 'push it'
    assert rig.prefixes[-1] is None, 'the plan of the old sentence is the start of the new'


def test_one_answer_that_cannot_be_used_is_tried_again_with_other_noise(rig):
    def fail():
        rig.before_answer = lambda: None
        raise PolicyError('out of reach')

    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.before_answer = fail
    assert rig.worker.step()
    assert rig.sent == []
    assert rig.worker.step()
    assert rig.sent[0][1].seed == chunk_seed(chunk_seed(5, 1), 1)
    assert rig.worker.status(rig.time).phase is PolicyPhase.RUNNING


@pytest.mark.parametrize('error', [PolicyError('no picture'), RuntimeError('CUDA')])
def test_a_failing_policy_stops_the_arm_and_says_why(rig, error):
    def fail():
        raise error

    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    rig.before_answer = fail
    rig.time += 1.0
    rig.tick()
    for _ in range(FAILURES):
        rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.phase is PolicyPhase.ERROR
    assert str(error) in status.message
    assert len(rig.sent[-1][0].times) == 0
    assert rig.worker.session.endings[-1].code is RunCode.POLICY_ERROR
    rig.before_answer = lambda: None
    rig.tick()
    assert not rig.worker.step()
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.tick()
    rig.worker.step()
    assert rig.worker.status(rig.time).phase is PolicyPhase.RUNNING


def test_missing_inputs_are_told_and_nothing_is_sent():
    rig = Rig()
    rig.worker.begin('reach it', 60.0, until_success=False)
    assert not rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.phase is PolicyPhase.WAITING_FOR_INPUT
    assert 'joint_states: nothing received' in status.message
    assert rig.sent == []


def test_the_time_limit_stops_the_arm(rig):
    rig.worker.begin('reach it', 2.0, until_success=True)
    rig.worker.step()
    rig.worker.check()
    assert rig.worker.session.running
    rig.time += 2.1
    rig.worker.check()
    assert rig.worker.session.endings[-1].code is RunCode.TIME_LIMIT
    assert len(rig.sent[-1][0].times) == 0


def test_stamps_increase_strictly_even_when_the_clock_stands(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    for _ in range(3):
        rig.worker.stop(RunCode.CANCELED, 'stopped')
    stamps = [trajectory.stamp for trajectory, _ in rig.sent]
    assert all(a < b for a, b in itertools.pairwise(stamps))


def test_status_figures_are_percentiles_of_a_bounded_window(rig):
    rig.worker.begin('reach it', 600.0, until_success=False)
    for k in range(WINDOW + 20):
        for _ in range(60):
            rig.tick()
        rig.before_answer = lambda k=k: setattr(rig, 'time', rig.time + 0.001 * k)
        rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.chunks == WINDOW + 20
    assert status.inference == (0.02, 0.02, 0.02)
    expected = np.percentile(0.001 * np.arange(20, WINDOW + 20), (50, 95, 99))
    np.testing.assert_allclose(status.total, expected, atol=1e-6)


def test_the_thread_answers_and_ends_while_commands_come_from_another_thread():
    rig = Rig()
    rig.worker.start()
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.002):
            rig.tick(0.1)
            rig.worker.wake()

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for k in range(20):
            rig.worker.begin(f'sentence {k}', 1e9, until_success=False)
            deadline = monotonic() + 5.0
            while not any(p and p.instruction_id == k + 1 for _, p in list(rig.sent)):
                assert monotonic() < deadline, 'no chunk for a new instruction within 5 s'
                sleep(0.002)
        assert rig.worker.close(5.0)
    finally:
        stop.set()
        feeder.join(5.0)
        rig.worker.close(5.0)
    numbers = [p.instruction_id for _, p in rig.sent if p]
    assert numbers == sorted(numbers)
    stamps = [trajectory.stamp for trajectory, _ in rig.sent]
    assert all(a < b for a, b in itertools.pairwise(stamps))


def test_the_stages_tell_where_the_time_went(rig):
    def think():
        rig.time += 0.2

    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.before_answer = think
    rig.assembler.add_joints(JointState(101.0, np.zeros(2), np.zeros(2)), 101.03)
    rig.time = 101.05
    rig.worker.step()
    timings = rig.sent[-1][1].timings
    assert timings['transport'] == pytest.approx(0.03)
    assert timings['frame_wait'] == pytest.approx(0.02)
    published = rig.time
    rig.time += 0.004
    for _ in range(3):  # the first counts
        rig.accept()
        rig.time += 0.02
    status = rig.worker.status(rig.time)
    assert status.transport == pytest.approx((0.03,) * 3)
    assert status.frame_wait == pytest.approx((0.02,) * 3)
    assert status.total == pytest.approx((published - 101.0,) * 3)
    assert status.filter == pytest.approx((0.004,) * 3)


def test_the_filter_stage_counts_each_chunk_once_and_only_what_is_used(rig):
    rig.worker.begin('reach it', 600.0, until_success=False)
    for k in range(4):
        for _ in range(60):
            rig.tick()
        rig.worker.step()
        rig.time += 0.01 * (k + 1)
        if k != 2:  # the third is lost on its way
            rig.accept()
            rig.accept()
    assert list(rig.worker._filter) == pytest.approx([0.01, 0.02, 0.04])


def test_the_percentiles_of_the_stages_are_those_of_the_chunks(rig):
    rig.worker.begin('reach it', 600.0, until_success=False)
    for k in range(WINDOW):
        rig.time += 1.0
        stamp = rig.time
        state = JointState(stamp, np.zeros(2), np.zeros(2))
        rig.assembler.add_joints(state, stamp + 0.001 * k)
        rig.time += 0.001 * k + 0.002 * k
        rig.worker.step()
    status = rig.worker.status(rig.time)
    expected = np.percentile(0.001 * np.arange(WINDOW), (50, 95, 99))
    np.testing.assert_allclose(status.transport, expected, atol=1e-6)
    np.testing.assert_allclose(status.frame_wait, 2.0 * expected, atol=1e-6)


def test_the_status_tells_the_strategy_and_how_the_plan_is_supplied(rig):
    def supplied(dt: float, rate: float = 1.0):
        rig.time += dt
        rig.accept(rate)
        status = rig.worker.status(rig.time)
        return status.supply, status.message

    rig.worker.begin('reach it', 60.0, until_success=False)
    status = rig.worker.status(rig.time)
    assert (status.strategy, status.supply) == (SPEC.strategy, 'none')
    assert (status.execution_horizon, status.delay_steps) == (SPEC.replan_steps, 0)
    rig.worker.step()
    assert 'taken up no chunk' in rig.worker.status(rig.time).message
    assert supplied(0.1) == ('on time', "following 'reach it'")
    due = SPEC.step * (SPEC.replan_steps + 1)  # 0.3 s; the plan ends at 1.0 s
    assert supplied(due - 0.1 - 0.01)[0] == 'on time'
    for dt, rate, word, said in (
        (0.02, 1.0, 'tail', 'overdue'),
        (0.4, 0.5, 'stretched', 'slows down'),
        (0.3, 0.0, 'held', 'waits at the end'),
    ):
        supply, message = supplied(dt, rate)
        assert supply == word
        assert said in message and message.startswith("following 'reach it'; ")
    rig.worker.stop(RunCode.CANCELED, 'stopped')
    assert supplied(0.1) == ('none', 'stopped')


def test_delays_show_in_the_status(rig):
    def think():
        rig.time += 0.12  # 2.4 steps, in which the arm moves on

    rig.worker.begin('reach it', 600.0, until_success=False)
    rig.before_answer = think
    for _ in range(4):
        for _ in range(40):
            rig.tick()
            if rig.sent:
                rig.accept()
        rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.delay_steps == 3
    assert status.execution_horizon == SPEC.replan_steps
    for _ in range(12):  # slower than the plan is long
        rig.worker._executor.delay.add(0.9 * SPEC.horizon)
    assert rig.worker.status(rig.time).execution_horizon == 0


def test_a_clock_that_stands_still_repeats_nothing_and_then_goes_on(rig):
    rig.worker.begin('reach it', 60.0, until_success=False)
    assert rig.worker.step()
    for _ in range(5):  # the same picture and the same instant, again and again
        rig.accept()
        rig.tick(0.0)
        assert not rig.worker.step()
        status = rig.worker.status(rig.time)
        figures = (*status.total, *status.transport, *status.frame_wait, *status.filter)
        assert np.isfinite(figures).all() and min(figures) >= 0.0
        assert all(s.age >= 0.0 for s in status.sources.values())
        assert np.isfinite(status.rate)
    for text in ('push it', 'lift it'):  # due at once, but there is no newer picture
        rig.worker.begin(text, 60.0, until_success=False)
        for _ in range(3):
            rig.tick(0.0)
            assert not rig.worker.step()
    assert len(rig.prefixes) == 1, 'the policy was asked once'
    rig.tick()
    assert rig.worker.step()
    assert rig.sent[-1][1].instruction == 'lift it'
    for _ in range(30):
        rig.accept()
        rig.tick()
    assert rig.worker.step()
    timings = rig.sent[-1][1].timings
    assert min(timings.values()) >= 0.0


def test_keys_differ_in_a_message_even_when_a_young_clock_stands_still(rig):
    nanoseconds = []
    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.worker.step()
    for _ in range(3):
        rig.worker.stop(RunCode.CANCELED, 'stopped')
    nanoseconds = [round(trajectory.stamp * 1e9) for trajectory, _ in rig.sent]
    assert len(set(nanoseconds)) == 4, 'the filter would take a stop for a chunk it has'


def test_pictures_that_cannot_be_read_end_the_instruction_only_if_none_can():
    def picky(message):
        if message in damaged:
            raise ShapeError('it has 7 bytes')
        return Frame(message, np.zeros((4, 4, 3), np.uint8))

    def see() -> None:
        rig.tick(0.03)
        rig.assembler.add_picture('eye', rig.time, rig.time, rig.time)

    rig, damaged = Rig(), set()
    rig.assembler = rig.worker._assembler = Assembler(('eye',), picky, 0.5)
    rig.tick()
    rig.worker.begin('reach it', 60.0, until_success=False)
    for _ in range(FAILURES - 1):
        see()
        damaged.add(rig.time)
        assert rig.worker.step()
        for _ in range(5):
            assert not rig.worker.step(), 'the same picture is not tried again'
    see()
    assert rig.worker.step()
    assert rig.worker.status(rig.time).phase is PolicyPhase.RUNNING
    rig.time += 1.0
    for _ in range(FAILURES):
        see()
        damaged.add(rig.time)
        rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.phase is PolicyPhase.ERROR
    assert "camera 'eye'" in status.message and '7 bytes' in status.message
    assert len(rig.sent[-1][0].times) == 0


class Waiting(Rig):
    """A policy that waits for a server until it is interrupted."""

    offers = frozenset({'interrupt'})

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.ended = threading.Event(), threading.Event()
        self.before_answer = self.wait

    def wait(self) -> None:
        self.asked.set()
        assert self.ended.wait(30.0)
        raise PolicyError('interrupted')

    def interrupt(self) -> None:
        self.ended.set()


def test_the_end_does_not_wait_for_a_server():
    rig = Waiting()
    rig.tick()
    rig.worker.start()
    rig.worker.begin('reach it', 60.0, until_success=False)
    assert rig.asked.wait(10.0)
    begin = monotonic()
    assert rig.worker.close(20.0)
    assert monotonic() - begin < 5.0


def test_the_status_tells_why_there_was_no_answer_until_there_is_one(rig):
    def fail():
        raise PolicyError('server far is deaf')

    rig.worker.begin('reach it', 60.0, until_success=False)
    rig.before_answer = fail
    rig.worker.step()
    status = rig.worker.status(rig.time)
    assert status.phase is not PolicyPhase.ERROR
    assert status.message.endswith('; server far is deaf')
    rig.before_answer = lambda: None
    rig.worker.step()
    assert 'deaf' not in rig.worker.status(rig.time).message


def test_another_policy_takes_over_between_two_chunks_with_the_instruction_in_work(rig):
    def later() -> None:
        for _ in range(30):
            rig.tick()
            rig.accept()
        assert rig.worker.step()

    def exchange() -> None:
        rig.worker.exchange(Loaded(other, other.executor), taken.append)

    other, taken = Rig(), []
    other.spec = replace(SPEC, name='other')
    rig.worker.begin('reach it', 60.0, until_success=False)
    assert rig.worker.step()
    rig.before_answer = exchange  # while an inference is in flight
    later()
    assert len(rig.sent) == 2 and taken == [] and other.prefixes == []
    later()
    assert [loaded.policy for loaded in taken] == [other]
    assert other.resets == [('reach it', chunk_seed(5, 1))] and len(other.prefixes) == 1
    assert rig.sent[2][1].instruction_id == 1
    assert rig.worker.session.spec is other.spec
    assert len(rig.sent) == 3 and all(len(t.times) for t, _ in rig.sent), 'nothing stopped'
