"""An arm in Gazebo: its model with controllers and cameras, and what the bridge carries."""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from xml.etree import ElementTree

import yaml

from vla_ros import graph
from vla_ros.bridges.controllers import controllers
from vla_ros.bridges.description import angles, describe, forward, hold, named, numbers, text
from vla_ros.errors import ConfigError
from vla_ros.robot import Camera, KINDS, RobotSpec

BY_VELOCITY = [name for name, kind in KINDS.items() if kind.velocity]  # kinds of controllers
WORLD = 'world'  # link that stands still
CLIP = (0.02, 10.0)  # [m] of a camera
GZ_TYPES = {  # of Gazebo Harmonic and later
    'rosgraph_msgs/msg/Clock': 'gz.msgs.Clock',
    'sensor_msgs/msg/Image': 'gz.msgs.Image',
    'sensor_msgs/msg/CameraInfo': 'gz.msgs.CameraInfo',
}


def write(robot: RobotSpec, namespace: str) -> dict[str, Path]:
    """Write what Gazebo and its bridge read to a new folder: 'model', 'controllers', 'bridge'.

    Args:
        robot: The arm.
        namespace: Prefix of every relative topic, such as '/left'.

    Raises:
        ConfigError: The arm has a driver or a camera that is not to be had in Gazebo.
    """
    folder = Path(mkdtemp(prefix='vla_ros_gazebo_'))
    files = {
        'model': folder / f'{robot.name}.urdf',
        'controllers': folder / 'controllers.yaml',
        'bridge': folder / 'bridge.yaml',
    }
    parameters = controllers(robot, namespace)
    files['controllers'].write_text(_yaml(parameters), encoding='utf-8')
    files['bridge'].write_text(_yaml(bridge(robot, namespace)), encoding='utf-8')
    files['model'].write_text(model(robot, namespace, files['controllers']), encoding='utf-8')
    return files


def bridge(robot: RobotSpec, namespace: str) -> list[dict[str, Any]]:
    """Return what ros_gz_bridge carries from Gazebo to ROS: the clock and the cameras.

    Joint states and commands need no bridge: the controllers run inside Gazebo and speak ROS.
    """
    topics = [graph.CLOCK]
    for camera in robot.cameras:
        topics += graph.camera_topics(robot, camera.name)
        if camera.transport != 'raw':
            raise ConfigError(
                f"robot {robot.name}: camera '{camera.name}' has transport {camera.transport}, "
                'and Gazebo sends raw pictures: take a robot file with transport: raw.'
            )
    return [
        {
            'ros_topic_name': graph.full_name(topic, namespace),
            'gz_topic_name': graph.full_name(topic, namespace),
            'ros_type_name': topic.type,
            'gz_type_name': GZ_TYPES[topic.type],
            'direction': 'GZ_TO_ROS',
            'publisher_queue': topic.qos.depth,
            'subscriber_queue': topic.qos.depth,
        }
        for topic in topics
    ]


def model(robot: RobotSpec, namespace: str, parameters: Path) -> str:
    """Return the URDF for Gazebo, fixed to the world, with hardware, plugin and cameras.

    Args:
        robot: The arm.
        namespace: Prefix of every relative topic.
        parameters: File of the controllers' parameters.
    """
    root = describe(robot)
    ElementTree.SubElement(root, 'link', name=WORLD)
    hold(root, WORLD, robot.base_frame, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    root.append(_hardware(robot, root))
    for camera in robot.cameras:
        root.append(_sensor(robot, camera, namespace))
    plugin = ElementTree.SubElement(
        ElementTree.SubElement(root, 'gazebo'),
        'plugin',
        filename='gz_ros2_control-system',
        name='gz_ros2_control::GazeboSimROS2ControlPlugin',
    )
    named(plugin, 'parameters', str(parameters))
    if namespace:
        named(ElementTree.SubElement(plugin, 'ros'), 'namespace', namespace)
    return text(root)


def _hardware(robot: RobotSpec, root: ElementTree.Element) -> ElementTree.Element:
    """Return the hardware of ros2_control: what controllers write in, places and speeds out."""
    system = ElementTree.Element('ros2_control', name='GazeboSystem', type='system')
    named(ElementTree.SubElement(system, 'hardware'), 'plugin', 'gz_ros2_control/GazeboSimSystem')
    start = dict(zip(robot.joint_names, robot.ready))
    moved = [one.joints for one in graph.controllers(robot) if one.kind in BY_VELOCITY]
    faces = {joint: 'velocity' for joints in moved for joint in joints}
    followers = [j.get('name', '') for j in root.iter('joint') if j.find('mimic') is not None]
    for name in (*robot.joint_names, *followers):
        joint = ElementTree.SubElement(system, 'joint', name=name)
        if name in start:  # what follows by mimic has no command of its own
            face = faces.get(name, 'position')
            ElementTree.SubElement(joint, 'command_interface', name=face)
        state = ElementTree.SubElement(joint, 'state_interface', name='position')
        if name in start:
            named(state, 'param', numbers([start[name]]), name='initial_value')
        ElementTree.SubElement(joint, 'state_interface', name='velocity')
    return system


def _sensor(robot: RobotSpec, camera: Camera, namespace: str) -> ElementTree.Element:
    """Return a camera on its link; its camera_info goes to the neighbour of its topic."""
    topic = graph.full_name(graph.camera_topics(robot, camera.name)[0], namespace)
    place = ElementTree.Element('gazebo', reference=camera.frame)
    sensor = ElementTree.SubElement(place, 'sensor', name=camera.name, type='camera')
    named(sensor, 'pose', numbers([*camera.position, *angles(forward(camera))]))
    for tag, content in _words(camera, topic).items():
        named(sensor, tag, content)
    lens = ElementTree.SubElement(sensor, 'camera')
    # fx = fy: tan(h / 2) = aspect tan(v / 2)
    wide = 2.0 * math.atan(camera.width / camera.height * math.tan(0.5 * camera.fovy))
    named(lens, 'horizontal_fov', numbers([wide]))
    image = ElementTree.SubElement(lens, 'image')
    size = {'width': str(camera.width), 'height': str(camera.height), 'format': 'R8G8B8'}
    for tag, content in size.items():
        named(image, tag, content)
    clip = ElementTree.SubElement(lens, 'clip')
    for tag, distance in zip(('near', 'far'), CLIP):
        named(clip, tag, numbers([distance]))
    return place


def _words(camera: Camera, topic: str) -> Mapping[str, str]:
    return {
        'topic': topic,
        'update_rate': numbers([camera.rate]),
        'always_on': 'true',
        'gz_frame_id': camera.optical_frame,
    }


def _yaml(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False)
