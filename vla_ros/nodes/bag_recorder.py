"""The recorder node: every topic of the graph into one bag, as the bytes that were sent.

A process of its own at low priority. It deserialises nothing, and never waits for the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
import os
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

from vla_ros import graph, paths
from vla_ros.bags.about import about
from vla_ros.bags.backlog import Waiting
from vla_ros.bags.recording import Progress, Recording
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import UnknownNameError, VlaError
from vla_ros.graph import Topic
from vla_ros.robot import load_robot, TRANSPORTS
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.ros.qos import interface

IMAGES = ('raw', 'jpeg')
DIAGNOSTICS_PERIOD = 1.0  # [s]
DEPTH = 200  # messages that may wait for this process; a second of joint states
END = 30.0  # [s] for the disk to take the rest at the end
RAW, COMPRESSED = PICTURES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


class BagRecorder(Node):
    """Records from activation to deactivation; see graph.py for what it listens to."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('recorder', **kwargs)
        words = ('robot', 'policy', 'safety', 'bag', 'images')
        self._arguments = {word: self.argument(word) for word in words}
        self._recording: Recording | None = None
        self.progress: Progress | None = None  # of the newest recording

    def configure(self) -> None:
        """Read the files that explain the recording."""
        arguments = self._arguments
        if arguments['images'] not in IMAGES:
            raise UnknownNameError('kind of images', arguments['images'], IMAGES)
        files = {
            word: paths.find(kind, arguments[word])
            for word, kind in (('robot', 'robots'), ('policy', 'policies'), ('safety', 'safety'))
        }
        self._robot = load_robot(files['robot'])
        try:
            self._about = about(files, arguments)
        except OSError as error:
            raise VlaError(f'{error.filename} cannot be read: {error.strerror}.') from error
        self._out = self.advertise(graph.DIAGNOSTICS)

    def activate(self) -> None:
        """Begin a bag."""
        name = self._arguments['bag'] or f'bag_{datetime.now():%Y-%m-%d_%H-%M-%S}'
        writer = BagWriter(
            Path(name), self._about, distribution=os.environ.get('ROS_DISTRO', 'kilted')
        )
        shrink = self._shrink if self._arguments['images'] == 'jpeg' else _unchanged
        self._recording = Recording(writer, shrink)
        self._ends: list[Any] = []  # subscriptions
        self._told = ''  # newest trouble in the log
        for topic in graph.recorded(self._robot):
            self._record(topic)
        self._timer = self.create_timer(DIAGNOSTICS_PERIOD, self._report)
        self.get_logger().info(f'recording {writer.folder}')

    def deactivate(self) -> None:
        """End the bag."""
        assert self._recording is not None
        self.destroy_timer(self._timer)
        for end in self._ends:
            _drain(end)
            self.destroy_subscription(end)
        self.progress = self._recording.stop(END)
        self._recording = None
        self._tell(self.progress)
        done = self.progress
        self.get_logger().info(
            f'{done.folder}: {done.messages} messages, {done.bytes / 1e6:.1f} MB'
        )

    def cleanup(self) -> None:
        """Release the topic."""
        self.destroy_publisher(self._out)

    def _record(self, topic: Topic) -> None:
        """Listen to a topic; to one with history both ways, for people publish it without."""
        named = replace(topic, name=self.resolve_topic_name(topic.name))
        if not topic.qos.transient_local:
            self._ends.append(self._subscribe(topic, partial(self._hear, named)))
            return
        heard = Twice()
        for way in (topic, topic.volatile):
            history = way.qos.transient_local

            def hear(data: bytes, history: bool = history) -> None:
                if heard.first(history, data):
                    self._hear(named, data)

            self._ends.append(self._subscribe(way, hear))

    def _subscribe(self, topic: Topic, hear: Callable[[bytes], None]) -> Any:
        # A second of pictures would be a hundred megabytes: their queue stays as it is.
        depth = topic.qos.depth if topic.type in PICTURES else max(DEPTH, topic.qos.depth)
        return self.listen(replace(topic, qos=replace(topic.qos, depth=depth)), hear, raw=True)

    def _hear(self, topic: Topic, data: bytes) -> None:
        if self._recording is not None:
            now = self.get_clock().now().nanoseconds
            self._recording.hear(topic, now, data, topic.type in PICTURES)

    def _shrink(self, message: Waiting) -> Waiting:
        """Return a raw picture as JPEG; one that cannot be, such as depth, stays as it is."""
        topic = message.topic
        if topic.type != RAW:
            return message
        try:
            jpeg = convert.jpeg_of_msg(deserialize_message(message.data, interface(RAW)))
        except VlaError:
            return message
        name = topic.name + TRANSPORTS['compressed']
        renamed = replace(topic, name=name, type=COMPRESSED)
        return replace(message, topic=renamed, data=serialize_message(jpeg))

    def _report(self) -> None:
        assert self._recording is not None
        self.progress = self._recording.progress()
        self._tell(self.progress)

    def _tell(self, progress: Progress) -> None:
        """Say in /diagnostics, and in the log, how far it is."""
        trouble = progress.trouble
        if trouble and trouble != self._told:
            self.get_logger().error(trouble)
        self._told = trouble
        level = 2 if progress.ended else 1 if trouble else 0
        values = {
            'bag': progress.folder,
            'seconds': f'{progress.seconds:.1f}',
            'messages': progress.messages,
            'megabytes': f'{progress.bytes / 1e6:.1f}',
            'waiting_megabytes': f'{progress.waiting / 1e6:.1f}',
            'dropped': sum(progress.dropped.values()),
        }
        message = trouble or 'recording'
        self._out.publish(
            convert.diagnostics_to_msg(self.now(), 'recorder', level, message, values.items())
        )


class Twice:
    """Tells messages that come by two subscriptions from the same one, come twice."""

    def __init__(self) -> None:
        """Have heard nothing."""
        self._single: dict[bool, deque[bytes]] = {w: deque(maxlen=DEPTH) for w in (False, True)}

    def first(self, way: bool, data: bytes) -> bool:
        """Return whether a message that came by one of two ways has not come by the other."""
        other = self._single[not way]
        if data in other:
            other.remove(data)
            return False
        self._single[way].append(data)
        return True


def _drain(subscription: Any) -> None:
    """Hear what has arrived and waits for its turn, which a spinning executor would have heard."""
    with subscription.handle:
        for _ in range(DEPTH):
            taken = subscription.handle.take_message(subscription.msg_type, True)
            if taken is None:
                return
            subscription.callback(taken[0])


def _unchanged(message: Waiting) -> Waiting:
    return message


def main() -> int:
    """Run the node until it is told to end."""
    return run(BagRecorder, graph.RECORDER_NICE)


if __name__ == '__main__':
    raise SystemExit(main())
