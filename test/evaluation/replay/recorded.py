"""Writes a track as the bag that a recorder would have made of it."""

from __future__ import annotations

from pathlib import Path

from rclpy.serialization import serialize_message

from vla_ros import graph
from vla_ros.bags.writer import BagWriter
from vla_ros.evaluation.replay.track import Track
from vla_ros.ros import convert


def write_bag(folder: Path, track: Track) -> None:
    names = track.robot.joint_names
    rows = []  # arrival, topic, message
    for k, stamp in enumerate(track.joints.stamps):
        msg = convert.joint_state_to_msg(track.joints.state(k), names)
        rows.append((float(stamp), graph.JOINT_STATES, msg))
    for sentence in track.sentences:
        rows.append((sentence.time, graph.INSTRUCTION, convert.text_to_msg(sentence.text)))
    for chunk in track.chunks:
        trajectory, origin = chunk.trajectory, chunk.provenance
        rows.append(
            (chunk.arrived, graph.TRAJECTORY, convert.trajectory_to_msg(trajectory, names))
        )
        if origin is None:  # it stopped the arm
            continue
        step, count = float(trajectory.times[0]), len(trajectory.times)
        info = convert.provenance_to_msg(origin, trajectory.stamp, step, count)
        rows.append((chunk.arrived, graph.CHUNK, info))
    for time, state in track.execution:
        rows.append((time, graph.EXECUTION_STATE, convert.execution_state_to_msg(state)))
    for time, status in track.safety:
        rows.append((time, graph.SAFETY_STATUS, convert.safety_status_to_msg(status)))
    topics = {c.name: graph.camera_topics(track.robot, c.name)[0] for c in track.robot.cameras}
    for picture in track.pictures(list(topics)):
        msg = convert.frame_to_msg(track.read(picture.message), picture.camera)
        rows.append((picture.arrived, topics[picture.camera], msg))
    with BagWriter(folder, {}) as writer:
        for time, topic, msg in sorted(rows, key=lambda row: row[0]):
            writer.write(
                f'/{topic.name}', topic.type, topic.qos, round(time * 1e9), serialize_message(msg)
            )
