"""The inference worker: what is published for which instruction, and what never is."""

from __future__ import annotations

import itertools
import threading
from time import monotonic, sleep

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.actions.executor import Executor
from vla_ros.errors import PolicyError
from vla_ros.nodes.inference import FAILURES, Inference, WINDOW
from vla_ros.nodes.observation import Assembler
from vla_ros.policies.base import chunk_seed
from vla_ros.spec import PolicySpec
from vla_ros.status import ExecutionState, PolicyPhase, RunCode
from vla_ros.types import ActionChunk, JointState, Trajectory

SPEC = config.load(paths.find('policies', 'hold'), PolicySpec)


class Codec:
    """Actions that are joint positions, of an arm of two joints."""

    policy = SPEC
    held = np.zeros(2, dtype=bool)
    scale = np.ones(2)

    def absolute(self, chunk, joints):
        return chunk.actions

    def action(self, position):
        return position

    def path(self, actions, start, stamp):
        return Trajectory(stamp, SPEC.step * np.arange(1, len(actions) + 1), actions)


class Rig:
    """A worker between a fake clock, a scripted policy and a list of what was sent."""

    spec = SPEC

    def __init__(self) -> None:
        self.time = 100.0
        self.sent: list = []  # (trajectory, provenance)
        self.resets: list = []
        self.before_answer = lambda: None
        self.assembler = Assembler((), lambda message: message, max_age=0.5)
        self.executor = Executor(Codec(), frozenset())
        self.worker = Inference(
            self, self.executor, self.assembler, self.publish, lambda: self.time, seed=5
        )

    def reset(self, instruction, *, seed):
        self.resets.append((instruction, seed))

    def infer(self, obs, prefix=None):
        self.before_answer()
        actions = np.full((SPEC.horizon, 2), obs.stamp)
        return ActionChunk(obs.stamp, actions, SPEC.step, {'inference': 0.02})

    def publish(self, trajectory, provenance):
        self.sent.append((trajectory, provenance))

    def tick(self, dt: float = 0.01) -> None:
        """Let time pass and a joint state arrive, which gives the next observation."""
        self.time += dt
        self.assembler.add_joints(JointState(self.time, np.zeros(2), np.zeros(2)))

    def accept(self) -> None:
        """Say, as the safety filter does, that the newest chunk is in use."""
        stamp = self.sent[-1][0].stamp
        state = ExecutionState(
            self.time, self.time, 1.0, stamp, stamp, ('a', 'b'), np.zeros(2), np.zeros(2), 0
        )
        self.worker.executed(state)


@pytest.fixture
def rig():
    rig = Rig()
    rig.tick()
    return rig


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
    rig.worker._window[0] = (0.0, 0.0, 0.2, 0.0, 0.2, 0.0)
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
    rig.worker._window[0] = (0.0, 0.0, 0.01, 0.0, 0.02, 0.0)
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
