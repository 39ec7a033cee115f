"""One control thread's tick, without ROS and without a clock: what goes in, what comes out."""

from __future__ import annotations

import copy
from dataclasses import replace
import threading

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from vla_ros import paths
from vla_ros.drivers.forwarder import Forwarder
from vla_ros.errors import ShapeError
from vla_ros.nodes.control import Control
from vla_ros.robot import Enable, load_robot
from vla_ros.safety.config import load_safety
from vla_ros.safety.result import Level
from vla_ros.status import Hold
from vla_ros.types import JointState, Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
CONFIG = load_safety(paths.find('safety', 'default'))
HOME = np.array([*ROBOT.home, ROBOT.gripper.open])
DT = CONFIG.period


class Arm:
    """A perfect arm around a Control: it is, a tick later, where it was commanded."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.now = 1000.0
        self.position, self.velocity = HOME.copy(), np.zeros_like(HOME)
        self.speaks, self.jammed = True, False

    def run(self, seconds: float):
        """Run the loop and return the last result."""
        for _ in range(round(seconds / DT)):
            self.now += DT
            if self.speaks:
                self.control.put_state(JointState(self.now, self.position, self.velocity))
            result = self.control.tick(self.now, DT)
            if result.command is not None and not (self.jammed or self.control.silent):
                self.position = result.command.positions[0].copy()
                self.velocity = result.command.velocities[0].copy()
        return result

    def plan(self, joint: int = 0, by: float = 0.4, seconds: float = 2.0) -> Trajectory:
        """Return a smooth move of one joint that begins now."""
        times = np.linspace(0.1, seconds, 20)
        positions = np.tile(self.position, (20, 1))
        share = times / seconds
        positions[:, joint] += by * (3 * share**2 - 2 * share**3)
        return Trajectory(self.now, times, positions)


@pytest.fixture(scope='module')
def built():
    return Control(ROBOT, CONFIG)


@pytest.fixture
def arm(built):
    built.start()
    built.put_estop(False)
    return Arm(built)


def test_nothing_is_sent_before_the_first_joint_state(arm):
    arm.speaks = False
    result = arm.run(0.05)
    assert result.command is None
    assert result.level >= Level.S2_VERIFIED_BRAKE


def test_what_keeps_the_filter_from_starting_is_told(arm):
    arm.speaks = False
    arm.control.put_fault('joint_names', 'joint_states lacks panda_joint3')
    result = arm.run(0.05)
    assert (result.command, result.reason) == (None, 'joint_names')
    arm.control.put_state(JointState(arm.now, HOME * np.nan, HOME * 0.0))
    assert 'joint_state_nonfinite' in arm.run(0.05).faults
    arm.speaks = True
    result = arm.run(0.05)
    assert (result.reason, result.latched) == ('no_plan', False)


def test_a_simulated_clock_may_begin_anywhere(arm):
    """Before its first message it stands at 0, while joint states are already heard."""
    for _ in range(10):
        arm.control.put_state(JointState(1003.8, arm.position, arm.velocity))
        waits = arm.control.tick(0.0, DT)
        assert waits.command is None and waits.faults == ('clock_paused',) and not waits.latched
    assert arm.run(0.1).level is Level.S2_VERIFIED_BRAKE
    assert arm.control.tick(arm.now, DT).faults == ('no_plan',)


def test_without_a_plan_the_arm_stays(arm):
    result = arm.run(0.5)
    assert result.reason == 'no_plan'
    np.testing.assert_array_equal(arm.position, HOME)


def test_a_plan_is_executed_to_its_end(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.2, seconds=0.9))
    arm.run(0.5)
    assert arm.velocity[0] > 0.1
    result = arm.run(1.0)
    assert arm.position[0] == pytest.approx(0.2, abs=0.01)
    assert arm.control.at_rest
    assert (result.level, result.latched) == (Level.S2_VERIFIED_BRAKE, False)


def test_every_command_ends_at_rest(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan())
    for _ in range(100):
        command = arm.run(DT).command
        np.testing.assert_array_equal(command.velocities[-1], 0.0)
        assert command.times[0] == pytest.approx(DT)


def test_an_empty_trajectory_stops_the_arm(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.8))
    arm.run(1.0)
    n = len(HOME)
    arm.control.put_trajectory(Trajectory(arm.now, np.zeros(0), np.zeros((0, n))))
    arm.run(0.5)
    assert arm.control.at_rest
    assert abs(arm.position[0]) < 0.6


@pytest.mark.parametrize('where', ['positions', 'velocities'])
def test_a_trajectory_with_nan_moves_nothing_and_says_why(arm, where):
    arm.run(0.1)
    good = arm.plan()
    bad = {'positions': good.positions.copy(), 'velocities': np.zeros_like(good.positions)}
    bad[where][7, 2] = np.nan
    arm.control.put_trajectory(Trajectory(good.stamp, good.times, **bad))
    result = arm.run(0.2)
    np.testing.assert_array_equal(arm.position, HOME)
    assert result.reason == 'plan_refused'
    assert 'trajectory_nonfinite' in arm.control.refused


def test_only_nan_after_a_good_plan_ends_at_rest_in_time(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=1.5, seconds=6.0))
    reason, seconds = '', 0.0
    while reason != 'plan_refused' and seconds < 3.0:
        nan = Trajectory(arm.now + 0.01, [0.1], np.full((1, len(HOME)), np.nan))
        arm.control.put_trajectory(nan)
        reason = arm.run(0.1).reason
        seconds += 0.1
    assert seconds <= CONFIG.plan_timeout + 0.2
    arm.run(0.6)
    assert arm.control.at_rest


def test_silence_of_the_policy_ends_at_rest(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=1.5, seconds=6.0))
    result = arm.run(CONFIG.plan_timeout + 0.6)
    assert result.reason == 'plan_silent'
    assert arm.control.at_rest


def test_silence_of_the_arm_brakes_and_its_return_goes_on(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.4))
    arm.run(0.3)
    arm.speaks = False
    result = arm.run(CONFIG.joint_state_timeout + 0.4)
    assert (result.reason, result.latched) == ('joint_state_stale', False)
    assert arm.control.at_rest
    arm.speaks = True
    assert arm.run(0.1).reason != 'joint_state_stale'


def test_a_controller_that_comes_back_does_not_leap_to_a_reference_that_went_on(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan())
    arm.run(0.3)
    arm.jammed, jam = True, arm.position
    result = arm.run(1.0)
    assert result.reason == 'tracking_lost' and arm.control.at_rest
    assert abs(result.command.positions[0, 0] - jam[0]) > 0.02  # [rad] it went on
    arm.jammed = False
    arm.run(0.5)
    np.testing.assert_array_equal(arm.position, jam)
    assert reset(arm)[0]
    arm.run(0.1)
    np.testing.assert_array_equal(arm.position[:-1], jam[:-1])
    arm.control.put_trajectory(arm.plan())
    assert arm.run(0.5).level <= Level.S1_FILTERED and arm.position[0] > jam[0] + 0.01


def test_wrong_joint_names_latch_until_reset(arm):
    arm.run(0.1)
    arm.control.put_fault('joint_names', 'joint_states lacks panda_joint3')
    result = arm.run(0.1)
    assert (result.level, result.reason, result.latched) == (Level.S3_HOLD, 'joint_names', True)
    assert 'panda_joint3' in result.message
    assert reset(arm)[0]
    assert arm.run(0.1).reason == 'no_plan'


def test_estop_latches_and_cannot_be_cleared_while_pressed(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.8))
    arm.run(0.8)
    arm.control.put_estop(True)
    result = arm.run(0.6)
    assert (result.reason, result.latched) == ('estop', True)
    assert arm.control.at_rest
    done, message = reset(arm)
    assert not done
    assert 'release' in message
    arm.control.put_estop(False)
    assert arm.run(0.1).reason == 'estop'
    assert reset(arm)[0]
    assert arm.run(0.1).reason == 'no_plan'


def test_a_trajectory_from_before_a_reset_is_refused(arm):
    arm.run(0.1)
    old = arm.plan()
    arm.run(0.1)
    arm.control.put_estop(True)
    arm.run(0.1)
    arm.control.put_estop(False)
    assert reset(arm)[0]
    arm.control.put_trajectory(old)
    arm.run(0.2)
    assert 'trajectory_before_reset' in arm.control.refused
    np.testing.assert_array_equal(arm.position, HOME)


def test_a_message_that_held_no_trajectory_is_refused(arm):
    arm.run(0.1)
    arm.control.put_trajectory(ShapeError('the trajectory lacks panda_joint1'))
    assert arm.run(0.1).reason == 'plan_refused'
    assert 'panda_joint1' in arm.control.refused


def test_reset_without_a_control_loop_is_bounded(built, monkeypatch):
    monkeypatch.setattr('vla_ros.nodes.control.ANSWER', 0.05)
    done, message = built.request_reset()
    assert not done
    assert 'activate' in message
    built.start()


def test_execution_state_tells_the_plan_that_runs(arm):
    arm.run(0.1)
    plan = arm.plan()
    arm.control.put_trajectory(plan)
    result = arm.run(0.5)
    state = arm.control.execution_state(arm.now, result)
    assert state.accepted_plan == plan.stamp
    assert state.plan_clock - state.accepted_plan_clock == pytest.approx(
        result.phi - state.accepted_plan_clock
    )
    assert 0.0 < state.plan_clock - state.accepted_plan_clock <= 0.5 + 2 * DT
    np.testing.assert_array_equal(state.reference_position, arm.position)


def reset(arm: Arm) -> tuple[bool, str]:
    """Ask for a reset from another thread, as the service does, and keep ticking."""
    answer: list[tuple[bool, str]] = []
    asking = threading.Thread(target=lambda: answer.append(arm.control.request_reset()))
    asking.start()
    for _ in range(1000):
        arm.run(DT)
        asking.join(0.001)
        if not asking.is_alive():
            return answer[0]
    raise AssertionError('the reset was not answered')


def empty(arm: Arm) -> Trajectory:
    return Trajectory(arm.now, np.zeros(0), np.zeros((0, len(HOME))))


def test_an_override_takes_the_arm_and_gives_it_back(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.4))
    arm.run(0.5)
    arm.control.put_override(arm.plan(joint=3, by=0.2, seconds=1.0))
    arm.run(0.3)
    assert arm.control.source == 'override'
    stamp = arm.now
    arm.control.put_trajectory(arm.plan(by=-0.4))
    result = arm.run(0.3)
    assert 'overridden' in arm.control.refused
    assert result.level <= Level.S1_FILTERED  # a refused policy is no fault of the override
    result = arm.run(2.0)
    assert arm.control.source == ''
    assert (result.reason, arm.control.at_rest) == ('no_plan', True)
    assert arm.position[3] == pytest.approx(HOME[3] + 0.2, abs=0.02)
    old = Trajectory(stamp + 0.1, arm.plan().times, arm.plan().positions)
    arm.control.put_trajectory(old)
    arm.run(0.1)
    assert 'trajectory_before_reset' in arm.control.refused
    arm.control.put_trajectory(arm.plan(by=0.2))
    arm.run(0.5)
    assert arm.control.source == 'policy'
    assert arm.velocity[0] > 0.05


def test_an_override_needs_no_newer_one(arm):
    arm.run(0.1)
    arm.control.put_override(arm.plan(by=0.5, seconds=CONFIG.plan_age_limit + 1.0))
    arm.run(CONFIG.plan_age_limit + 0.5)
    assert arm.control.source == 'override'
    arm.run(2.0)
    assert arm.position[0] == pytest.approx(0.5, abs=0.02)


def test_an_empty_override_stops_the_arm_whoever_moves_it(arm):
    arm.run(0.1)
    arm.control.put_trajectory(arm.plan(by=0.8))
    arm.run(0.8)
    arm.control.put_override(empty(arm))
    result = arm.run(0.6)
    assert (result.reason, arm.control.at_rest) == ('no_plan', True)


def test_an_override_is_dropped_by_a_reset(arm):
    arm.run(0.1)
    arm.control.put_override(arm.plan(by=0.8))
    arm.run(0.5)
    arm.control.put_estop(True)
    arm.run(0.6)
    arm.control.put_estop(False)
    assert reset(arm)[0]
    assert arm.control.source == ''


def test_a_plan_that_begins_far_away_is_refused_and_a_near_one_goes_on(arm):
    arm.run(0.1)
    far = arm.plan()
    positions = far.positions.copy()
    positions[:, 1] += CONFIG.start_tolerance + 0.1
    arm.control.put_trajectory(Trajectory(far.stamp, far.times, positions))
    result = arm.run(0.3)
    assert (result.level, result.reason, result.latched) == (
        Level.S2_VERIFIED_BRAKE, 'start_pose', False,
    )  # fmt: skip
    assert ROBOT.joint_names[1] in arm.control.refused
    np.testing.assert_array_equal(arm.position, HOME)
    arm.control.put_trajectory(arm.plan())
    assert arm.run(0.5).level <= Level.S1_FILTERED


def test_a_late_tick_latches_if_the_arm_moves(arm):
    arm.run(0.1)
    arm.control.tick(arm.now + 0.001, 2.0 * CONFIG.deadline)
    assert arm.run(0.1).reason == 'no_plan'
    arm.control.put_trajectory(arm.plan())
    arm.run(0.8)
    arm.control.tick(arm.now + 0.001, 2.0 * CONFIG.deadline)
    result = arm.run(0.8)
    assert (result.reason, result.latched) == ('missed_deadline', True)
    assert f'{2e3 * CONFIG.deadline:.0f} ms' in result.message
    assert arm.control.at_rest
    assert reset(arm)[0]


# --- the dead-man switch ---


@pytest.fixture
def switch(built, monkeypatch):
    """Yield the arm with a dead-man switch, pressed and reset."""
    monkeypatch.setattr(built, 'robot', replace(ROBOT, enable=Enable(0.1)))
    built.start()
    arm = Pressed(built)
    arm.run(0.1)
    assert reset(arm)[0]
    arm.run(0.1)
    return arm


class Pressed(Arm):
    """An arm whose operator presses the switch and says so each tick."""

    pressed: bool | None = True  # None: says nothing

    def run(self, seconds: float):
        for _ in range(round(seconds / DT)):
            if self.pressed is not None:
                self.control.put_enable(self.pressed)
            result = super().run(DT)
        return result


@pytest.mark.parametrize('left', [False, None])
def test_a_released_or_silent_switch_stops_the_arm_until_a_reset_while_pressed(switch, left):
    switch.control.put_trajectory(switch.plan(by=0.8))
    assert switch.run(0.8).level <= Level.S1_FILTERED
    switch.pressed = left
    result = switch.run(0.8)
    assert (result.reason, result.level, result.latched) == (
        'enable_released', Level.S3_HOLD, True,
    )  # fmt: skip
    assert switch.control.at_rest
    done, message = reset(switch)
    assert not done and 'press' in message
    switch.pressed = True
    assert switch.run(0.2).reason == 'enable_released'
    assert reset(switch)[0]
    assert switch.run(0.1).reason == 'no_plan'


def test_a_switch_that_was_never_pressed_keeps_the_arm(built, monkeypatch):
    monkeypatch.setattr(built, 'robot', replace(ROBOT, enable=Enable(0.1)))
    built.start()
    arm = Arm(built)
    assert arm.run(0.2).reason == 'enable_released'


# --- a dry run ---


@pytest.fixture(scope='module')
def imagined():
    return Control(ROBOT, CONFIG, dry_run=True)


class Still(Arm):
    """An arm that nobody commands."""

    def run(self, seconds: float):
        for _ in range(round(seconds / DT)):
            self.now += DT
            self.control.put_state(JointState(self.now, self.position, 0.0 * self.velocity))
            result = self.control.tick(self.now, DT)
        return result


def test_a_dry_run_moves_a_command_and_returns_to_the_arm(imagined):
    imagined.start()
    arm = Still(imagined)
    arm.run(0.1)
    imagined.put_trajectory(arm.plan(by=0.5, seconds=0.9))
    arm.run(0.8)
    assert arm.run(DT).command.positions[0, 0] > 0.2
    result = arm.run(1.0)
    assert (result.reason, result.latched) == ('no_plan', False)
    np.testing.assert_allclose(result.command.positions[0][:-1], HOME[:-1])
    imagined.put_trajectory(arm.plan(by=-0.3, seconds=0.9))  # and again, from where the arm is
    arm.run(0.6)
    assert arm.run(DT).command.positions[0, 0] < -0.1


def test_a_dry_run_still_needs_joint_states_and_hears_the_estop(imagined):
    imagined.start()
    arm = Still(imagined)
    arm.run(0.1)
    imagined.put_trajectory(arm.plan(by=0.5))
    arm.run(0.5)
    imagined.put_estop(True)
    result = arm.run(0.6)
    assert (result.reason, result.latched) == ('estop', True)
    assert result.command.positions[0, 0] > 0.0  # a latched fault keeps the reference
    imagined.put_estop(False)
    assert reset(arm)[0]
    for _ in range(40):
        arm.now += DT
        result = imagined.tick(arm.now, DT)
    assert result.reason == 'joint_state_stale'


# --- the forwarder of a streaming driver ---


@pytest.fixture(scope='module')
def streaming():
    return Control(load_robot(paths.find('robots', 'panda_streaming')), CONFIG)


class Forwarded(Arm):
    """An arm behind a forwarder, whose reports the test plays."""

    holds: np.ndarray | None = None
    streams = True
    reports = True

    def run(self, seconds: float):
        for _ in range(round(seconds / DT)):
            if self.reports:
                self.control.put_hold(Hold(self.streams and self.holds is None, self.holds))
            result = super().run(DT)
        return result


def test_nothing_moves_before_the_forwarder_reports(streaming):
    streaming.start()
    arm = Forwarded(streaming)
    arm.reports = False
    arm.run(0.2)
    streaming.put_trajectory(arm.plan())
    result = arm.run(0.2)
    assert (result.reason, result.latched) == ('no_plan', False)
    assert 'forwarder' in streaming.refused
    assert 'start it' in reset(arm)[1]
    arm.reports, arm.streams = True, False
    arm.run(0.1)
    streaming.put_trajectory(arm.plan())
    assert arm.run(0.2).reason == 'no_plan'  # it is there, but has heard no command yet
    arm.streams = True
    arm.run(0.1)
    streaming.put_trajectory(arm.plan())
    assert arm.run(0.5).level <= Level.S1_FILTERED


def test_a_stopped_stream_latches_and_a_reset_begins_where_it_is_held(streaming):
    streaming.start()
    arm = Forwarded(streaming)
    arm.run(0.1)
    streaming.put_trajectory(arm.plan(by=0.8))
    arm.run(0.8)
    arm.holds = arm.position[:-1] + 0.01
    result = arm.run(0.8)
    assert (result.reason, result.latched) == ('stream_stopped', True)
    assert reset(arm)[0]
    result = arm.run(0.1)
    assert result.reason == 'no_plan'
    np.testing.assert_array_equal(result.command.positions[0][:-1], arm.holds)
    streaming.put_trajectory(arm.plan())
    arm.run(0.1)
    assert 'forwarder' in streaming.refused  # it has not resumed yet
    arm.holds = None
    arm.run(0.1)
    streaming.put_trajectory(arm.plan())
    assert arm.run(0.5).level <= Level.S1_FILTERED


def test_a_forwarder_that_does_not_resume_is_told_again(streaming):
    streaming.start()
    arm = Forwarded(streaming)
    arm.run(0.1)
    arm.holds = arm.position[:-1]
    arm.run(0.1)
    assert reset(arm)[0]
    assert arm.run(0.5).reason == 'no_plan'
    assert arm.run(0.8).reason == 'stream_stopped'
    arm.holds = None
    reset(arm)


def test_a_silent_forwarder_is_lost(streaming):
    streaming.start()
    arm = Forwarded(streaming)
    arm.run(0.1)
    arm.reports = False
    result = arm.run(1.0)
    assert (result.reason, result.level) == ('process_lost', Level.S3_HOLD)
    arm.reports = True
    arm.run(0.1)
    assert reset(arm)[0]
    assert arm.run(0.1).reason == 'no_plan'


def test_a_filter_that_dies_at_any_tick_leaves_the_stop_it_sent(streaming):
    """What the forwarder plays is the cubic of the last command, to rest, within the limits."""
    streaming.start()
    arm = Forwarded(streaming)
    arm.run(0.1)
    forwarder = Forwarder(ROBOT.dof, DT, late=2.0 * DT)
    forwarder.accept(Trajectory(1.0, [DT], [arm.position[:-1]], np.zeros((1, ROBOT.dof))), arm.now)
    streaming.put_override(arm.plan(joint=3, by=0.9, seconds=1.2))
    rng = np.random.default_rng(5)
    played = 0
    for _ in range(240):
        command = arm.run(DT).command
        sent = Trajectory(arm.now, command.times, *(
            values[:, :-1] for values in (command.positions, command.velocities)
        ))  # fmt: skip
        np.testing.assert_array_equal(forwarder.accept(sent, arm.now), sent.positions[0])
        if np.abs(sent.velocities[0]).max() < 0.1 or rng.random() > 0.2:
            continue
        played += 1
        orphan, now, way = copy.deepcopy(forwarder), arm.now + 0.7 * DT, []
        while not orphan.at_rest:
            now += DT
            place = orphan.fill(now)
            way.append((sent.times[0] + now - arm.now, place))
        times, places = np.array([t for t, _ in way]), np.array([p for _, p in way])
        cubic = CubicHermiteSpline(sent.times, sent.positions, sent.velocities)
        np.testing.assert_allclose(places[:-1], cubic(times[:-1]), atol=1e-12)
        np.testing.assert_array_equal(places[-1], sent.positions[-1])
        np.testing.assert_array_equal(orphan.held, sent.positions[-1])
        inside = np.linspace(sent.times[0], sent.times[-1], 200)
        assert (np.abs(cubic(inside, 1)) <= ROBOT.limits('velocity') + 1e-6).all()
        assert (np.abs(cubic(inside, 2)) <= 1.01 * ROBOT.limits('acceleration')).all()
        np.testing.assert_allclose(cubic(sent.times[-1], 1), 0.0, atol=1e-9)
    assert played > 10
