"""Bags made by another writer, with numbers that are known."""

from __future__ import annotations

from pathlib import Path

from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

TYPES = get_typestore(Stores.LATEST)
JOINTS = 'sensor_msgs/msg/JointState'
PICTURE = 'sensor_msgs/msg/Image'
TEXT = 'std_msgs/msg/String'
STEP = 20_000_000  # [ns]
START = 1_790_000_000_000_000_000  # [ns] a date
COUNT = 100  # of joint states


def make(kind: str, **fields):
    return TYPES.types[kind](**fields)


def header(time: int):
    stamp = make('builtin_interfaces/msg/Time', sec=time // 10**9, nanosec=time % 10**9)
    return make('std_msgs/msg/Header', stamp=stamp, frame_id='f')


def joints(time: int, position):
    values = np.asarray(position, dtype=np.float64)
    names = [f'j{k}' for k in range(len(values))]
    return make(
        JOINTS, header=header(time), name=names, position=values, velocity=-values,
        effort=np.zeros(0),
    )  # fmt: skip


def picture(time: int, pixels, encoding: str = 'rgb8', big: bool = False):
    data = np.ascontiguousarray(pixels)
    height, width = data.shape[:2]
    return make(
        PICTURE, header=header(time), height=height, width=width, encoding=encoding,
        is_bigendian=int(big), step=data.nbytes // height,
        data=data.view(np.uint8).reshape(-1),
    )  # fmt: skip


def text(words: str):
    return make(TEXT, data=words)


def cdr(message) -> bytes:
    return bytes(TYPES.serialize_cdr(message, message.__msgtype__))


def known(count: int = COUNT) -> list[tuple[str, int, object]]:
    """Return topic, log time and message of a recording, in order of time."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        time = START + k * STEP
        found.append(('/joint_states', time, joints(time, rng.normal(size=7))))
        if k % 5 == 0:
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            found.append(('/camera/image_raw', time + 1, picture(time, pixels)))
    found.append(('/vla/instruction', START + count * STEP, text('reach the cube')))
    return found


def write(
    folder: Path,
    messages=None,
    storage: StoragePlugin = StoragePlugin.MCAP,
    packed: CompressionMode = CompressionMode.NONE,
    version: int = 9,
) -> Path:
    """Write messages, or the known ones, with `rosbags`; return the file."""
    writer = Writer(folder, version=version, storage_plugin=storage)
    writer.set_compression(packed, CompressionFormat.ZSTD)
    with writer:
        channels = {}
        for topic, time, message in known() if messages is None else messages:
            kind = message.__msgtype__
            if topic not in channels:
                channels[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(channels[topic], time, cdr(message))
    (file,) = (f for f in folder.iterdir() if f.name != 'metadata.yaml')
    return file


def write_mcap(
    path: Path, compression: CompressionType = CompressionType.ZSTD, messages=None, **options
) -> None:
    """Write messages, or the known ones, with `mcap`, in many chunks unless `options` say else."""
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=3000, compression=compression, **options)
        writer.start(profile='ros2')
        channels = {}
        for topic, time, message in messages or known():
            kind = message.__msgtype__
            if topic not in channels:
                definition, _ = TYPES.generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, 'ros2msg', definition.encode())
                channels[topic] = writer.register_channel(topic, 'cdr', schema)
            writer.add_message(channels[topic], time, cdr(message), time)
        writer.finish()
