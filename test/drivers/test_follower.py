"""The controller double: on time, smooth, and at rest when nobody commands any more."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.errors import ShapeError
from vla_ros.types import Trajectory


def test_holds_where_it_began():
    follower = TrajectoryFollower(np.array([0.5, -0.5]))
    for now in (-1.0, 0.0, 100.0):
        position, velocity = follower.sample(now)
        np.testing.assert_array_equal(position, [0.5, -0.5])
        np.testing.assert_array_equal(velocity, [0.0, 0.0])


def test_passes_each_point_on_time_and_rests_at_the_last():
    rng = np.random.default_rng(1)
    positions, velocities = rng.normal(size=(2, 4, 2))
    velocities[-1] = 0.0
    times = np.array([0.1, 0.2, 0.4, 0.5])
    follower = TrajectoryFollower(np.zeros(2))
    follower.accept(Trajectory(10.0, times, positions, velocities), now=10.0)
    for k in range(3):
        position, velocity = follower.sample(10.0 + times[k])
        np.testing.assert_allclose(position, positions[k], atol=1e-9)
        np.testing.assert_allclose(velocity, velocities[k], atol=1e-6)
    position, velocity = follower.sample(99.0)
    np.testing.assert_array_equal(position, positions[-1])
    np.testing.assert_array_equal(velocity, 0.0)


def test_velocity_is_the_derivative_of_position():
    rng = np.random.default_rng(2)
    follower = TrajectoryFollower(np.zeros(3))
    speeds = rng.normal(size=(2, 3)) * [[1.0], [0.0]]
    points = Trajectory(0.5, [0.1, 0.3], rng.normal(size=(2, 3)), speeds)
    follower.accept(points, 0.5)
    step = 1e-6
    for now in np.linspace(0.51, 0.79, 7):
        rise = follower.sample(now + step)[0] - follower.sample(now - step)[0]
        np.testing.assert_allclose(follower.sample(now)[1], rise / (2 * step), atol=1e-6)


def test_a_command_in_mid_motion_starts_where_the_arm_is():
    follower = TrajectoryFollower(np.zeros(1))
    follower.accept(Trajectory(0.0, [1.0], [[1.0]], [[0.0]]), now=0.0)
    before = follower.sample(0.4)
    follower.accept(Trajectory(0.4, [0.5], [[-1.0]], [[0.0]]), now=0.4)
    after = follower.sample(0.4)
    np.testing.assert_allclose(after[0], before[0], atol=1e-12)
    np.testing.assert_allclose(after[1], before[1], atol=1e-12)


def test_silence_plays_the_stop_that_came_with_the_command():
    """A braking parabola of two points with velocities is followed exactly: no overshoot."""
    speed, decel = 0.8, 4.0
    stop = speed / decel
    tail = Trajectory(
        0.0, [0.005, 0.005 + stop],
        [[0.004], [0.004 + speed * stop / 2]], [[speed], [0.0]],
    )  # fmt: skip
    follower = TrajectoryFollower(np.zeros(1))
    follower.accept(tail, now=0.0)
    for t in np.linspace(0.0, stop, 9):
        expected = 0.004 + speed * t - decel * t * t / 2
        assert follower.sample(0.005 + t)[0][0] == pytest.approx(expected, abs=1e-9)
    assert follower.sample(1.0)[1][0] == 0.0


def test_with_points_that_are_past_it_is_between_two_at_once():
    """As the controller's own algorithm says: no way from where it is to the first point ahead."""
    follower = TrajectoryFollower(np.zeros(1))
    follower.accept(Trajectory(1.0, [0.1, 0.2, 0.3], [[9.0], [9.0], [1.0]]), now=1.25)
    assert follower.sample(1.25)[0][0] == pytest.approx(5.0)
    assert follower.sample(1.275)[0][0] == pytest.approx(3.0)


def test_points_without_velocities_are_joined_by_lines():
    follower = TrajectoryFollower(np.zeros(1))
    follower.accept(Trajectory(0.0, [1.0, 2.0], [[1.0], [4.0]]), now=0.0)
    for now, place, speed in ((0.25, 0.25, 1.0), (1.5, 2.5, 3.0), (2.5, 4.0, 0.0)):
        assert follower.sample(now)[0][0] == pytest.approx(place)
        assert follower.sample(now)[1][0] == pytest.approx(speed)


def test_a_stamp_of_zero_means_now():
    follower = TrajectoryFollower(np.zeros(1))
    follower.accept(Trajectory(0.0, [0.5], [[1.0]]), now=100.0)
    assert follower.sample(100.0)[0][0] == 0.0
    assert follower.sample(100.5)[0][0] == 1.0


@pytest.mark.parametrize(
    'bad',
    [
        Trajectory(0.0, [], np.zeros((0, 2))),
        Trajectory(0.0, [1.0], [[0.0, 0.0, 0.0]]),
        Trajectory(0.0, [1.0], [[0.0, np.nan]]),
        Trajectory(0.0, [1.0], [[0.0, 0.0]], [[np.inf, 0.0]]),
        Trajectory(0.0, [1.0], [[0.0, 0.0]], [[1e-3, 0.0]]),  # it does not end at rest
        Trajectory(0.05, [0.01, 0.04], [[0.0, 0.0], [1.0, 1.0]]),  # it is over
        Trajectory(0.0, [0.2, 0.2], [[0.0, 0.0], [1.0, 1.0]]),  # no time from point to point
    ],
)
def test_what_cannot_be_followed_changes_nothing(bad):
    follower = TrajectoryFollower(np.zeros(2))
    follower.accept(Trajectory(0.0, [1.0], [[1.0, 1.0]]), now=0.0)
    before = follower.sample(0.5)[0]
    with pytest.raises(ShapeError):
        follower.accept(bad, now=0.1)
    np.testing.assert_array_equal(follower.sample(0.5)[0], before)
