"""The simulated cell without ROS: its controllers, its judge, its resets."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.errors import UnknownNameError
from vla_ros.nodes.simulation import LONGEST_STEP, Simulation, SUCCESS_HOLD
from vla_ros.robot import load_robot
from vla_ros.sim.tasks import TASKS
from vla_ros.types import Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
HOME = np.array(ROBOT.home)
DT = 0.005


@pytest.fixture(scope='module')
def built():
    return Simulation(ROBOT, ROBOT.urdf_path, 'tabletop')


@pytest.fixture
def sim(built):
    built.reset('reach', 3)
    return built


def run(sim: Simulation, now: float, seconds: float):
    """Run in periods of DT and return the time and the joints at the end."""
    for _ in range(round(seconds / DT)):
        now += DT
        state = sim.advance(now, DT)
    return now, state


def test_the_arm_follows_a_trajectory_by_time(sim):
    goal = HOME + [0.2, 0, 0, 0, 0, 0, -0.2]
    sim.arms[0].command_arm(Trajectory(10.0, [1.0], goal[None], np.zeros((1, 7))), 10.0)
    now, middle = run(sim, 10.0, 0.5)
    assert middle.position[0] == pytest.approx(0.1, abs=0.01)
    now, end = run(sim, now, 0.8)
    np.testing.assert_allclose(end.position[:-1], goal, atol=2e-3)
    assert np.abs(end.velocity).max() < 1e-2
    assert end.stamp == now


def test_silence_plays_the_tail_and_stops(sim):
    """The last command before a filter's death: at 0.6 rad/s, with a stop of 0.1 s."""
    speed, stop = 0.6, 0.1
    start, now = 5.0, 5.0
    for k in range(60):
        first = HOME + np.eye(7)[0] * speed * DT * (k + 1)
        last = first + np.eye(7)[0] * speed * stop / 2
        velocities = np.zeros((2, 7))
        velocities[0, 0] = speed
        command = Trajectory(now, [DT, DT + stop], [first, last], velocities)
        sim.arms[0].command_arm(command, now)
        now, state = run(sim, now, DT)
    assert state.velocity[0] > 0.4
    now, state = run(sim, now, 0.3)
    assert state.velocity[0] == pytest.approx(0.0, abs=5e-3)
    assert state.position[0] == pytest.approx(speed * (now - 0.3 - start) + 0.03, abs=5e-3)


def test_the_gripper_goes_where_it_is_told(sim):
    sim.arms[0].command_gripper(0.01, 0.0)
    _, state = run(sim, 0.0, 0.6)
    assert state.position[-1] == pytest.approx(0.01, abs=1e-3)
    sim.arms[0].command_gripper(np.nan, 0.0)
    _, state = run(sim, 0.6, 0.1)
    assert state.position[-1] == pytest.approx(0.01, abs=1e-3)


def test_a_stall_of_the_machine_is_not_simulated(sim):
    before = sim.tabletop.world.time
    sim.advance(100.0, 30.0)
    assert sim.tabletop.world.time - before == pytest.approx(LONGEST_STEP, abs=0.003)


def test_simulated_time_keeps_up_with_odd_periods(sim):
    before = sim.tabletop.world.time
    for k in range(100):
        sim.advance(k * 0.0033, 0.0033)
    assert sim.tabletop.world.time - before == pytest.approx(0.33, abs=0.0025)


@pytest.mark.parametrize('task', TASKS)
def test_a_seed_is_a_scene(sim, task):
    first = sim.reset(task, 11)
    truth = sim.tabletop.state()
    run(sim, 0.0, 0.1)
    assert sim.reset(task, 11) == first
    np.testing.assert_array_equal(sim.tabletop.state().objects, truth.objects)
    assert sim.reset(task, 12) != first


def test_an_unknown_task_names_the_closest_and_changes_nothing(sim):
    before = sim.tabletop.episode
    with pytest.raises(UnknownNameError, match="Did you mean 'reach'"):
        sim.reset('reech', 1)
    assert sim.tabletop.episode is before


def test_success_must_last(sim):
    """Put the target under the tool: the predicate holds at once, the verdict comes later."""
    episode = sim.reset('reach', 5)
    name = episode.target_shape
    status = sim.judge(1.0, 0.1)
    assert not status.success
    assert (status.task, status.seed, status.instruction) == ('reach', 5, episode.instruction)
    tool = sim.tabletop.state().tool
    world = sim.tabletop.world
    world.set_object_pose(name, tool - [0.0, 0.0, 0.03])
    first = sim.judge(1.1, 0.1)
    assert not first.success
    assert first.tool_to_target < 0.03
    assert sim.judge(1.2, SUCCESS_HOLD).success
    world.set_object_pose(name, tool - [0.0, 0.2, 0.1])
    assert not sim.judge(1.3, 0.1).success


def test_the_step_limit_ends_an_episode(sim):
    sim.reset('reach', 5)
    limit = sim.judge(0.0, 0.1).step_limit
    assert limit == 100
    now = 0.0
    for _ in range(round(10.0 / LONGEST_STEP) + 1):
        now += LONGEST_STEP
        sim.advance(now, LONGEST_STEP)
    status = sim.judge(now, 0.1)
    assert status.step >= limit
    assert status.done
    assert not status.success
