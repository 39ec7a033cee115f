"""What the files for RViz and Foxglove show exists, in the quality that they ask for."""

from __future__ import annotations

from collections.abc import Iterator
import json
from typing import Any

import pytest
import yaml

from vla_ros import graph, paths
from vla_ros.robot import load_robot
from vla_ros.safety.picture import SPACES

CONFIG = paths.share() / 'config'
ROBOT = load_robot(paths.find('robots', 'panda'))
TOPICS = {
    topic.name: topic
    for process in graph.processes(ROBOT, simulated=True)
    for topic in (*process.publishes, *process.subscribes)
}


@pytest.fixture(scope='module')
def rviz() -> dict[str, Any]:
    return yaml.safe_load((CONFIG / 'rviz' / 'vla.rviz').read_text())['Visualization Manager']


@pytest.fixture(scope='module')
def foxglove() -> dict[str, Any]:
    return json.loads((CONFIG / 'foxglove' / 'vla.json').read_text())


def test_rviz_shows_the_frame_that_markers_are_given_in(rviz):
    assert rviz['Global Options']['Fixed Frame'] == ROBOT.base_frame


def test_rviz_subscribes_to_topics_of_the_graph_as_they_are_published(rviz):
    types = {'MarkerArray': 'visualization_msgs/msg/MarkerArray', 'Image': 'sensor_msgs/msg/Image'}
    heard = [display for display in rviz['Displays'] if 'Topic' in display]
    assert len(heard) == 2
    for display in heard:
        asked = display['Topic']
        topic = TOPICS[asked['Value'].removeprefix('/')]
        assert topic.type == types[display['Class'].rpartition('/')[2]]
        assert topic.qos.reliable or asked['Reliability Policy'] == 'Best Effort'
        assert topic.qos.transient_local or asked['Durability Policy'] == 'Volatile'


def test_rviz_lists_every_space_of_the_picture(rviz):
    (markers,) = (d for d in rviz['Displays'] if d['Class'].endswith('MarkerArray'))
    assert markers['Namespaces'] == dict.fromkeys(SPACES, True)


def leaves(layout: Any) -> Iterator[str]:
    if isinstance(layout, str):
        yield layout
    else:
        yield from leaves(layout['first'])
        yield from leaves(layout['second'])


def test_foxglove_places_every_panel_once(foxglove):
    assert sorted(leaves(foxglove['layout'])) == sorted(foxglove['configById'])


def test_foxglove_names_topics_of_the_graph(foxglove):
    panels = foxglove['configById']
    scene, image = panels['3D!safety'], panels['Image!scene']['imageMode']
    assert scene['followTf'] == ROBOT.base_frame
    names = [*scene['topics'], image['imageTopic'], image['calibrationTopic']]
    assert {name.removeprefix('/') for name in names} <= set(TOPICS)


def test_foxglove_plots_fields_that_the_messages_have(foxglove):
    pytest.importorskip('rclpy')
    from vla_ros.ros.qos import interface

    panels = foxglove['configById'].values()
    shown = [path for panel in panels for path in panel.get('paths', ())]
    assert len(shown) > 3
    for path in shown:
        name, _, field = path['value'].removeprefix('/').partition('.')
        assert field in interface(TOPICS[name].type).get_fields_and_field_types()
        assert path['enabled']
