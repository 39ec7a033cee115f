"""The forwarder's core: passes on, bridges a late tick, stops the arm when the stream ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.drivers.forwarder import ARMED, ENDED, Forwarder, SILENT, SLEPT
from vla_ros.errors import ShapeError
from vla_ros.types import Trajectory

PERIOD, LATE = 0.005, 0.01
ACCEL = 5.0  # [rad/s^2] of every stop
FAST = 1.0  # [rad/s]


def command(place: float, speed: float, stamp: float = 1.0) -> Trajectory:
    """Return a next point of two joints and the straight stop after it, as the filter sends it."""
    q, v = np.array([place, -place]), np.array([speed, -speed])
    stop = max(abs(speed) / ACCEL, 1e-6)
    share = np.array([0.0, 0.5, 1.0] if speed else [0.0])[:, None]
    return Trajectory(
        stamp,
        PERIOD + stop * share[:, 0],
        q + stop * share * (1.0 - 0.5 * share) * v,
        (1.0 - share) * v,
    )


class Line:
    """A filter and a controller around the core; time is the test's."""

    def __init__(self) -> None:
        self.forwarder = Forwarder(2, PERIOD, LATE)
        self.now = 50.0
        self.place, self.speed = 0.3, 0.0  # of the filter's reference
        self.sent: list[float] = []

    def step(self, speaks: bool = True, awake: bool = True) -> None:
        """Let one period pass."""
        self.now += PERIOD
        self.place += PERIOD * self.speed
        if speaks and awake:
            self.hear(command(self.place, self.speed))
        if awake:
            self._out(self.forwarder.fill(self.now + 0.2 * PERIOD))

    def hear(self, heard: Trajectory) -> None:
        self._out(self.forwarder.accept(heard, self.now))

    def run(self, ticks: int, **kw: bool) -> None:
        for _ in range(ticks):
            self.step(**kw)

    def move(self, ticks: int = 20) -> None:
        """Begin at rest and then move."""
        self.run(3)
        self.speed = FAST
        self.run(ticks)

    def _out(self, position) -> None:
        if position is not None:
            assert position[1] == pytest.approx(-position[0])
            self.sent.append(float(position[0]))


@pytest.fixture
def line() -> Line:
    return Line()


def test_every_command_goes_out_once_and_unchanged(line):
    line.move(40)
    expected = [0.3] * 3 + [0.3 + PERIOD * FAST * (k + 1) for k in range(40)]
    np.testing.assert_allclose(line.sent, expected, atol=1e-12)
    assert line.forwarder.held is None


def test_a_stream_that_ends_in_motion_is_stopped_along_its_stop(line):
    line.move()
    last = line.place
    line.run(100, speaks=False)
    end = last + 0.5 * FAST**2 / ACCEL
    assert line.sent[-1] == pytest.approx(end)
    assert line.forwarder.held[0] == pytest.approx(end)
    assert line.forwarder.at_rest
    steps = np.diff(line.sent[-45:])
    assert (steps >= -1e-12).all() and steps.max() <= 2.2 * PERIOD * FAST
    assert np.abs(np.diff(steps)).max() <= 1.3 * PERIOD * FAST  # one jump: the tick that was late
    after = steps[int(np.argmax(steps)) + 1 :]
    assert np.abs(np.diff(after)).max() <= 1.01 * ACCEL * PERIOD**2


def test_a_filter_that_comes_back_moves_nothing_without_a_reset(line):
    line.move()
    line.run(100, speaks=False)
    held, count = line.sent[-1], len(line.sent)
    line.run(50)
    line.speed, line.place = 0.0, held
    line.run(50)
    assert len(line.sent) == count
    assert line.forwarder.reset(line.now)[0]
    line.run(2)
    assert line.forwarder.held is None
    assert line.sent[-1] == pytest.approx(held)
    line.speed = FAST
    line.run(3)
    assert line.sent[-1] == pytest.approx(held + 3 * PERIOD * FAST)


@pytest.mark.parametrize(('off', 'speed'), [(0.05, 0.0), (0.0, 0.2)])
def test_a_reset_stream_begins_at_rest_where_the_arm_is_held(line, off, speed):
    line.move()
    line.run(100, speaks=False)
    line.forwarder.reset(line.now)
    line.place, line.speed, count = line.sent[-1] + off, speed, len(line.sent)
    line.run(10)
    assert len(line.sent) == count
    assert line.forwarder.held is not None


def test_a_reset_is_good_for_a_while_only(line):
    line.move()
    line.run(100, speaks=False)
    line.forwarder.reset(line.now)
    line.run(round(ARMED / PERIOD) + 2, speaks=False)
    line.place, line.speed = line.sent[-1], 0.0
    line.run(5)
    assert line.forwarder.held is not None


def test_a_reset_waits_until_the_stop_is_over(line):
    line.move()
    line.run(5, speaks=False)
    done, why = line.forwarder.reset(line.now)
    assert not done and 'moves' in why
    line.run(100, speaks=False)
    assert line.forwarder.reset(line.now)[0]


def test_a_tick_that_is_a_little_late_is_bridged(line):
    line.move()
    before = line.place
    line.run(1, speaks=False)
    assert line.forwarder.held is None
    line.run(20)
    assert line.forwarder.held is None
    assert line.sent[-1] == pytest.approx(line.place)
    assert line.place == pytest.approx(before + 21 * PERIOD * FAST)
    steps = np.diff(line.sent[-23:])
    assert (steps > 0.0).all()


def test_a_stream_that_was_late_is_over_though_its_stop_ended_before(line):
    """However late a command may be, an interrupted motion is not taken up without a reset."""
    line.forwarder = Forwarder(2, PERIOD, late=0.5)
    line.move()
    line.run(round(0.4 / PERIOD), speaks=False)
    assert line.forwarder.at_rest and line.forwarder.held is None
    line.run(round(0.2 / PERIOD), speaks=False)
    assert line.forwarder.held[0] == pytest.approx(line.sent[-1])


def test_a_slow_motion_whose_stop_is_shorter_than_a_tick_survives_a_late_one(line):
    line.run(3)
    line.speed = 0.5 * ACCEL * PERIOD
    for _ in range(20):
        line.run(3)
        line.run(1, speaks=False)
    assert line.forwarder.held is None


def test_silence_at_rest_ends_nothing(line):
    line.run(3)
    line.run(1000, speaks=False)
    assert line.forwarder.held is None
    line.move()
    assert line.sent[-1] == pytest.approx(line.place)


def test_after_silence_at_rest_a_stream_begins_at_rest_and_near(line):
    line.run(3)
    line.run(100, speaks=False)
    count = len(line.sent)
    line.place += 0.02
    line.run(5)
    assert len(line.sent) == count
    assert line.forwarder.held[0] == pytest.approx(0.3)


def test_the_very_first_command_is_at_rest(line):
    line.speed = FAST
    line.run(5)
    assert not line.sent
    line.speed = 0.0
    line.run(5)
    assert line.sent and line.forwarder.held is None


@pytest.mark.parametrize('first', ['fill', 'accept'])
def test_a_forwarder_that_slept_leaves_the_arm_where_it_stopped(line, first):
    line.move()
    last = line.sent[-1]
    line.run(200, awake=False)
    line.now += PERIOD
    if first == 'accept':
        line.hear(command(line.place, line.speed))
    line.run(50)
    assert line.sent[-1] == last
    assert line.forwarder.held[0] == last


def test_stop_plays_the_stop_whatever_is_heard(line):
    line.move()
    last = line.place
    line.forwarder.stop()
    line.run(100)
    assert line.forwarder.at_rest
    assert line.sent[-1] == pytest.approx(last + 0.5 * FAST**2 / ACCEL)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'positions': np.full((3, 2), np.nan)}, 'not finite'),
        ({'velocities': np.full((3, 2), np.inf)}, 'not finite'),
        ({'times': np.array([0.0, np.nan, 1.0])}, 'not finite'),
        ({'velocities': np.full((3, 2), 0.1)}, 'end at rest'),
        ({'times': np.array([0.0, 2.0, 1.0])}, 'increase'),
        ({'velocities': None}, 'velocities beside'),
        ({'positions': np.zeros((3, 3)), 'velocities': np.zeros((3, 3))}, 'or more, 2'),
        (
            {'times': np.zeros(0), 'positions': np.zeros((0, 2)), 'velocities': np.zeros((0, 2))},
            '1 or more',
        ),
    ],
)
def test_what_is_no_command_is_refused_and_counts_as_silence(line, change, words):
    line.move()
    good = command(line.place, line.speed)
    values = {
        'times': good.times, 'positions': good.positions, 'velocities': good.velocities, **change
    }  # fmt: skip
    bad = Trajectory(1.0, **values)
    for _ in range(100):
        line.now += PERIOD
        with pytest.raises(ShapeError, match=words):
            line.hear(bad)
        line._out(line.forwarder.fill(line.now))
    assert line.forwarder.at_rest
    assert line.forwarder.held is not None


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_lost_the_arm_never_leaves_the_stops_that_were_sent(pattern, seed):
    """Every position lies between a command's point and the end of its stop."""
    rng = np.random.default_rng(seed)
    line = Line()
    line.run(2)
    last = command(line.place, line.speed)
    for speaks, awake in pattern:
        line.speed = float(np.clip(line.speed + rng.uniform(-0.3, 0.3), -FAST, FAST))
        count = len(line.sent)
        heard = speaks and awake
        line.step(speaks, awake)
        if heard and line.forwarder.held is None:
            last = command(line.place, line.speed)
        low, high = np.sort(last.positions[[0, -1], 0])
        for position in line.sent[count:]:
            assert low - 1e-9 <= position <= high + 1e-9
    line.run(200, speaks=False)
    assert line.forwarder.at_rest


def test_the_velocity_is_that_of_what_went_out_and_ends_at_zero(line):
    """A controller that takes velocities gets them, and 0 in the end."""
    line.move()
    assert line.forwarder.velocity[0] == FAST
    speeds = []
    for _ in range(100):
        line.step(speaks=False)
        speeds.append(line.forwarder.velocity[0])
    assert (np.diff(speeds) <= 1e-9).all()
    assert speeds[-1] == 0.0


def test_what_goes_out_is_due_at_a_ros_time_that_runs_on_in_silence(line):
    line.move()
    last = line.forwarder.due(line.now)
    assert last == pytest.approx(1.0 + PERIOD)  # the stamp of every command here
    line.step(speaks=False)
    assert line.forwarder.due(line.now) == pytest.approx(last + PERIOD)


def test_it_says_why_the_stream_is_over(line):
    line.move()
    line.run(100, speaks=False)
    assert line.forwarder.reason == SILENT
    other = Line()
    other.move()
    other.run(20, awake=False)
    other.run(1)
    assert other.forwarder.reason == SLEPT
    told = Line()
    told.move()
    told.forwarder.stop()
    assert told.forwarder.reason == ENDED


def test_a_controller_that_gave_up_has_the_arm_where_it_was_measured(line):
    line.move()
    place, count = np.array([0.1, -0.1]), len(line.sent)
    line.forwarder.halt(place, 'the controller refused goal 7')
    assert line.forwarder.reason == 'the controller refused goal 7'
    np.testing.assert_array_equal(line.forwarder.held, place)
    assert line.forwarder.at_rest and not line.forwarder.velocity.any()
    line.run(20)
    assert len(line.sent) == count
    assert line.forwarder.reset(line.now)[0]
    line.place, line.speed = 0.1, 0.0
    line.run(3)
    assert line.forwarder.held is None


def test_a_gripper_goes_along_and_neither_ends_a_stream_nor_keeps_it_from_beginning():
    """The last column may move while the arm rests, be late, and begin anywhere."""
    forwarder = Forwarder(2, PERIOD, LATE, gripper=True)

    def grip(place: float, speed: float) -> Trajectory:
        positions = [[0.3, place], [0.3, place + 0.025 * speed]]
        return Trajectory(1.0, [PERIOD, PERIOD + 0.05], positions, [[0.0, speed], [0.0, 0.0]])

    assert forwarder.accept(grip(0.0, 0.1), 50.0) is not None
    late = 50.0 + 10 * PERIOD
    place = forwarder.fill(late)
    assert place is not None and 0.0 < place[1] <= 0.0025 + 1e-9 and forwarder.held is None
    assert forwarder.accept(grip(0.04, 0.0), late) is not None
    assert forwarder.held is None
    moving = Trajectory(
        1.0, [PERIOD, 0.2], [[0.302, 0.04], [0.34, 0.04]], [[0.4, 0.0], [0.0, 0.0]]
    )
    assert forwarder.accept(moving, late + PERIOD) is not None
    forwarder.fill(late + 10 * PERIOD)
    assert forwarder.held is not None and forwarder.held.shape == (1,)
