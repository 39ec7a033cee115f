"""replay.launch.py: what it starts commands nothing and follows the recording's clock."""

from __future__ import annotations

import importlib.util

import pytest

from vla_ros import graph, paths
from vla_ros.robot import load_robot

FILE = paths.share() / 'launch' / 'replay.launch.py'


@pytest.fixture
def described():
    launch = pytest.importorskip('launch')
    pytest.importorskip('launch_ros')
    spec = importlib.util.spec_from_file_location('replay_launch', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    for entity in module.generate_launch_description().entities:
        if isinstance(entity, launch.actions.DeclareLaunchArgument):
            entity.execute(context)
    return module, context


def test_the_nodes_run_dry_beside_the_player(described):
    module, context = described
    *nodes, player = module.player(context)
    robot = load_robot(paths.find('robots', 'panda'))
    assert [n.node_executable for n in nodes] == [
        p.executable for p in graph.replay_processes(robot)
    ]
    for name in ('dry_run', 'use_sim_time'):
        assert module.parameter(name).evaluate(context) is True
    words = [part.perform(context) for argument in player.cmd for part in argument]
    assert '--clock' in words
    assert set(words) >= {graph.full_name(topic) for topic in graph.replayed(robot)}
