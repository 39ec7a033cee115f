"""Writes episodes as a LeRobot data set, or to the end of one that exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import Episode
from vla_ros.bags.lerobot_camera import CameraWriter
from vla_ros.bags.lerobot_format import Feature, Place
from vla_ros.bags.lerobot_reader import DataSet, open_data_set
from vla_ros.bags.lerobot_stats import column_stats, pooled, Stats
from vla_ros.bags.lerobot_tables import schema_of, table_of, write_tasks
from vla_ros.bags.staging import Staging
from vla_ros.errors import BagError
from vla_ros.types import Image


class Totals(NamedTuple):
    """What a data set holds."""

    episodes: int
    frames: int
    tasks: int


class DataSetWriter:
    """Takes all rows at once and pictures one by one; a context manager.

    Nothing of the folder changes before `finish`, and then all at once.
    """

    def __init__(
        self,
        folder: Path,
        robot: str,
        features: Mapping[str, Feature],
        rate: int,
        episodes: Sequence[Episode],
    ) -> None:
        """Do nothing yet.

        Args:
            folder: The data set, which is made if it is not there.
            robot: Its `robot_type`.
            features: Its columns, as `lerobot_format.features` gives them.
            rate: Rows a second [Hz].
            episodes: What is added, at least one; its pictures come later.
        """
        self._old: DataSet | None = None
        self._robot, self._features, self._rate = robot, dict(features), rate
        self._episodes = episodes
        self._staging = Staging(folder)
        self._cameras: dict[str, CameraWriter] = {}

    def __enter__(self) -> DataSetWriter:
        """Look at what is there, and begin.

        Raises:
            BagError: The folder holds something else, or a data set that these do not fit, or
                another export writes to it.
        """
        self._staging.__enter__()
        try:
            if _is_used(self._staging.folder):
                self._old = open_data_set(self._staging.folder)
                _check_same(self._old, self._robot, self._features, self._rate)
            self._staging.copy()
            self._cameras = {
                key: self._camera(key, feature)
                for key, feature in self._features.items()
                if feature['dtype'] == 'video'
            }
        except BaseException:
            self._staging.__exit__()
            raise
        return self

    def picture(self, camera: str, image: Image) -> None:
        """Take the next picture (H, W, 3) of a camera: one for each row, in order.

        Raises:
            ShapeError: It has another size than the data set says.
            BagError: That camera has one for every row.
        """
        self._cameras[fmt.IMAGES + camera].add(image)

    def finish(self) -> Totals:
        """Write the tables and put the data set in its place; return what it holds now.

        Raises:
            BagError: A camera lacks pictures.
            OSError: Something could not be written; the folder is as it was.
        """
        for camera in self._cameras.values():
            camera.close()
            if not camera.is_complete:
                raise BagError(f"'{camera.key}' has no picture for every row: nothing is written.")
        tasks = list(self._old.tasks) if self._old else []
        tasks += [t for t in dict.fromkeys(e.task for e in self._episodes) if t not in tasks]
        rows, stats = self._write_rows(tasks)
        self._write_episodes(rows, stats)
        write_tasks(self._staging.fresh(fmt.TASKS), tasks)
        before = [self._old.stats] if self._old and self._old.stats else []
        parts = [*before, *stats]
        whole = {key: pooled([p[key] for p in parts if key in p]) for key in stats[0]}
        self._staging.text(fmt.STATS, _json(whole))
        frames = sum(len(episode) for episode in self._episodes)
        totals = Totals(
            len(self._episodes) + (self._old.episodes if self._old else 0),
            frames + (self._old.frames if self._old else 0),
            len(tasks),
        )
        self._staging.text(fmt.INFO, _json(self._info(totals)))
        self._staging.publish()
        return totals

    def __exit__(self, *_: object) -> None:
        """Forget what was not finished."""
        for camera in self._cameras.values():
            with suppress(OSError):  # the file is thrown away
                camera.close()
        self._staging.__exit__()

    def _camera(self, key: str, feature: Feature) -> CameraWriter:
        height, width, _ = feature['shape']
        lengths = [len(episode) for episode in self._episodes]
        place = self._next(f'videos/{key}')
        return CameraWriter(key, (height, width), self._rate, place, self._staging.fresh, lengths)

    def _next(self, column: str) -> Place:
        """Return the place after the last file that is there."""
        return self._old.last(column).next if self._old and self._old.episodes else Place()

    def _write_rows(self, tasks: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Stats]]]:
        """Write the rows, an episode a row group; return the episodes' entries and statistics."""
        index = self._old.frames if self._old else 0
        number = self._old.episodes if self._old else 0
        place = self._next('data')
        schema = schema_of(self._features)
        entries: list[dict[str, Any]] = []
        stats: list[dict[str, Stats]] = []
        with pq.ParquetWriter(self._staging.fresh(place.path(fmt.DATA)), schema) as file:
            for episode in self._episodes:
                count = len(episode)
                columns = self._columns(episode, number, index, tasks.index(episode.task))
                file.write_table(table_of(columns, schema))
                found: dict[str, Stats] = {k: column_stats(v) for k, v in columns.items()}
                entry = {
                    'episode_index': number,
                    'tasks': [episode.task],
                    'length': count,
                    'data/chunk_index': place.chunk,
                    'data/file_index': place.file,
                    'dataset_from_index': index,
                    'dataset_to_index': index + count,
                }
                for key, camera in self._cameras.items():
                    clip = camera.clips[len(entries)]
                    found[key] = clip.stats
                    entry[f'videos/{key}/chunk_index'] = clip.place.chunk
                    entry[f'videos/{key}/file_index'] = clip.place.file
                    entry[f'videos/{key}/from_timestamp'] = clip.start
                    entry[f'videos/{key}/to_timestamp'] = clip.end
                entries.append(entry)
                stats.append(found)
                number, index = number + 1, index + count
        return entries, stats

    def _columns(self, episode: Episode, number: int, index: int, task: int) -> dict[str, Any]:
        count = len(episode)
        frame = np.arange(count)
        return {
            fmt.STATE: episode.state.astype(np.float32),
            fmt.ACTION: episode.action.astype(np.float32),
            fmt.INTERVENTION: episode.intervention,
            fmt.STAMP: episode.stamps,
            'timestamp': (frame / self._rate).astype(np.float32),
            'frame_index': frame,
            'episode_index': np.full(count, number),
            'index': index + frame,
            'task_index': np.full(count, task),
        }

    def _write_episodes(self, rows: list[dict[str, Any]], stats: list[dict[str, Stats]]) -> None:
        place = self._next('meta/episodes')
        for row, found in zip(rows, stats):
            for key, values in found.items():
                row.update({f'stats/{key}/{name}': v.tolist() for name, v in values.items()})
            row['meta/episodes/chunk_index'] = place.chunk
            row['meta/episodes/file_index'] = place.file
        pq.write_table(pa.Table.from_pylist(rows), self._staging.fresh(place.path(fmt.EPISODES)))

    def _info(self, totals: Totals) -> dict[str, Any]:
        if self._old is not None:
            info = dict(self._old.info)
        else:
            info = {
                'codebase_version': fmt.VERSION,
                'robot_type': self._robot,
                'fps': self._rate,
                'chunks_size': fmt.CHUNK,
                'data_files_size_in_mb': fmt.DATA_MEGABYTES,
                'video_files_size_in_mb': fmt.VIDEO_MEGABYTES,
                'data_path': fmt.DATA,
                'video_path': fmt.VIDEO,
                'features': self._features,
            }
        info['total_episodes'], info['total_frames'], info['total_tasks'] = totals
        info['splits'] = {'train': f'0:{totals.episodes}'}
        return info


def _is_used(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _check_same(old: DataSet, robot: str, features: Mapping[str, Feature], rate: int) -> None:
    """Compare a data set with what is to be added.

    Raises:
        BagError: They do not fit; names every difference.
    """
    wrong = []
    if old.robot != robot:
        wrong.append(f"robot_type '{old.robot}', not '{robot}'")
    if old.rate != rate:
        wrong.append(f'{old.rate} rows a second, not {rate}')
    for key in sorted({*old.features, *features}):
        there, mine = _plain(old.features.get(key)), _plain(features.get(key))
        if there != mine:
            wrong.append(f"column '{key}': {there or 'none'}, not {mine or 'none'}")
    if wrong:
        raise BagError(
            f'{old.folder} is another data set: it has {"; ".join(wrong)}. Name a new folder, or '
            'export with its settings.'
        )


def _plain(feature: Feature | None) -> str:
    """Return what matters of a column; how its video was encoded does not."""
    if feature is None:
        return ''
    names = feature.get('names')
    return f'{feature["dtype"]} {list(feature["shape"])} {names if names else ""}'.strip()


def _json(value: Mapping[str, Any]) -> str:
    def plain(item: Any) -> Any:
        return item.tolist()

    return json.dumps(value, indent=4, default=plain, ensure_ascii=False) + '\n'
