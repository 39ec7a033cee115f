"""replay.launch.py and record.launch.py: dry and by the recording's clock; every topic."""

from __future__ import annotations

from vla_ros import graph, paths
from vla_ros.robot import load_robot

ROBOT = load_robot(paths.find('robots', 'panda'))


def test_the_nodes_run_dry_beside_the_player(described, words):
    from vla_ros.ros import launching

    module, _, context = described('replay', bag='a_bag', namespace='/left')
    *nodes, player = module.player(context)
    assert [n.node_executable for n in nodes] == [
        p.executable for p in graph.replay_processes(ROBOT)
    ]
    for name in ('dry_run', 'use_sim_time'):
        assert launching.parameter(name, graph.REPLAY_PARAMETERS).evaluate(context) is True
    said = words(player, context)
    assert {'--clock', 'a_bag'} <= set(said)
    assert set(said) >= {graph.full_name(topic, '/left') for topic in graph.replayed(ROBOT)}


def test_the_recorder_takes_every_topic(described, words):
    module, _, context = described('record', namespace='/left')
    (recorder,) = module.recorder(context)
    said = words(recorder, context)
    topics = said[said.index('--topics') + 1 :]
    assert topics == [graph.full_name(topic, '/left') for topic in graph.recorded(ROBOT)]
