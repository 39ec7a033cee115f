"""LeRobot's data set format, version 3.0: which files there are, and what their columns are.

Established from the public library (huggingface/lerobot, src/lerobot/datasets, commit 7427f318 of
2026-08; 0.4.4 and 0.6.1 on PyPI read the same). docs/export.md has the whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_ros.robot import RobotSpec

VERSION = 'v3.0'
INFO = 'meta/info.json'
STATS = 'meta/stats.json'
TASKS = 'meta/tasks.parquet'
EPISODES = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
DATA = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
VIDEO = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
CHUNK = 1000  # files in a folder
DATA_MEGABYTES = 100  # of a data file
VIDEO_MEGABYTES = 200  # of a video file, after which the next episode begins a new one
IMAGES = 'observation.images.'  # begins the key of a camera
STATE = 'observation.state'
ACTION = 'action'
INTERVENTION = 'intervention'  # LeRobot's own word, where a human corrects a policy
STAMP = 'stamp'  # ours: when the row was recorded; no policy of theirs reads such a key
INDICES = ('frame_index', 'episode_index', 'index', 'task_index')

Feature = dict[str, Any]


def feature(dtype: str, shape: Sequence[int], names: Sequence[str] | None = None) -> Feature:
    """Return how info.json describes a column."""
    return {'dtype': dtype, 'shape': list(shape), 'names': None if names is None else list(names)}


def features(robot: RobotSpec, pictures: Mapping[str, tuple[int, int]], rate: int) -> dict:
    """Return the columns of a robot's data set.

    Args:
        robot: Names the joints.
        pictures: Camera -> (height, width) [px].
        rate: Rows a second [Hz].
    """
    joints = robot.joint_names
    table = {
        STATE: feature('float32', (len(joints),), joints),
        ACTION: feature('float32', (len(joints),), joints),
    }
    for camera, (height, width) in pictures.items():
        table[IMAGES + camera] = {
            **feature('video', (height, width, 3), ('height', 'width', 'channels')),
            'info': {
                'video.height': height,
                'video.width': width,
                'video.codec': 'h264',
                'video.pix_fmt': 'yuv420p',
                'video.fps': rate,
                'video.channels': 3,
                'is_depth_map': False,
                'has_audio': False,
            },
        }
    table[INTERVENTION] = feature('bool', (1,))
    table[STAMP] = feature('float64', (1,))
    table['timestamp'] = feature('float32', (1,))
    table.update({name: feature('int64', (1,)) for name in INDICES})
    return table


@dataclass(frozen=True)
class Place:
    """Where a file stands: 1000 to a folder."""

    chunk: int = 0
    file: int = 0

    @property
    def next(self) -> Place:
        """The place after this one."""
        if self.file == CHUNK - 1:
            return Place(self.chunk + 1, 0)
        return Place(self.chunk, self.file + 1)

    def path(self, template: str, key: str = '') -> str:
        """Return the file's path, such as DATA names it."""
        return template.format(chunk_index=self.chunk, file_index=self.file, video_key=key)
