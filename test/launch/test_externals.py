"""Files that start other packages, run for real with programs in their place that only note it."""

from __future__ import annotations

import os
from pathlib import Path
import time

import pytest

from vla_ros import graph, paths
from vla_ros.robot import load_robot

LIMIT = 300.0  # [s] bound of every wait: the first start compiles the safety core
ROBOT = load_robot(paths.find('robots', 'panda'))
ARM = [p.executable for p in graph.processes(ROBOT, simulated=False) if not p.wanted]
ONCE = ('create', 'spawner')  # programs that end when they have done their work
PROGRAMS = {
    'controller_manager': 'spawner',
    'joint_state_publisher_gui': 'joint_state_publisher_gui',
    'robot_state_publisher': 'robot_state_publisher',
    'ros_gz_bridge': 'parameter_bridge',
    'ros_gz_sim': 'create',
    'rviz2': 'rviz2',
}
GAZEBO = """from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration


def generate_launch_description():
    arguments = [DeclareLaunchArgument(name) for name in ('gz_args', 'on_exit_shutdown')]
    gazebo = ExecuteProcess(cmd=[{program!r}, LaunchConfiguration('gz_args')])
    return LaunchDescription([*arguments, gazebo])
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Put the programs where ROS 2 looks for them; return what tells which were started."""
    notes = tmp_path / 'notes'
    notes.touch()

    def program(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        wait = '' if path.name in ONCE else 'exec sleep 400'
        path.write_text(f'#!/bin/sh\necho "$(basename $0) $@" >> {notes}\n{wait}\n')
        path.chmod(0o755)

    prefix = tmp_path / 'prefix'
    for package, name in PROGRAMS.items():
        index = prefix / 'share/ament_index/resource_index/packages'
        index.mkdir(parents=True, exist_ok=True)
        (index / package).touch()
        program(prefix / 'lib' / package / name)
    program(prefix / 'bin' / 'gazebo')
    file = prefix / 'share/ros_gz_sim/launch/gz_sim.launch.py'
    file.parent.mkdir(parents=True)
    file.write_text(GAZEBO.format(program=str(prefix / 'bin' / 'gazebo')))
    both = [str(prefix), os.environ.get('AMENT_PREFIX_PATH', '')]
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(both))
    return lambda: [line.split()[0] for line in notes.read_text().splitlines()]


def reports(topic: graph.Topic):
    """Return what waits until a topic of ours is heard."""
    from vla_ros.nodes.client import Client

    def wait() -> None:
        with Client('launch_probe') as client:
            heard: list[object] = []
            client.listen(topic, heard.append)
            client.until(lambda: heard, LIMIT, topic.name)

    return wait


def test_gazebo_comes_with_arm_bridge_and_controllers(run, started):
    def beside() -> None:
        reports(graph.SAFETY_STATUS)()
        deadline = time.monotonic() + LIMIT
        while 'spawner' not in started() and time.monotonic() < deadline:
            time.sleep(0.1)

    ended = run('gazebo', beside, {'policy': 'hold'})
    wanted = ['create', 'gazebo', 'parameter_bridge', 'robot_state_publisher', 'spawner']
    assert sorted(started()) == wanted
    assert started().index('create') < started().index('spawner'), 'the arm must be there first'
    assert {name: ended[name] for name in ARM} == dict.fromkeys(ARM, 0)


def test_isaac_is_heard_in_its_own_time(run, started):
    ended = run('isaac', reports(graph.SAFETY_STATUS), {'policy': 'hold'})
    assert started() == []
    assert ended == dict.fromkeys(ARM, 0)


def test_a_description_is_shown(run, started):
    ended = run('description', reports(graph.MARKERS), {'gui': 'true'})
    assert sorted(started()) == ['joint_state_publisher_gui', 'robot_state_publisher', 'rviz2']
    assert ended['markers_node'] == 0
