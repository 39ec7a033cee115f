"""Reads a LeRobot data set: its tables by pyarrow, its pictures by ffmpeg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags import video
from vla_ros.bags.lerobot_format import Feature, Place
from vla_ros.errors import BagError, PictureError, UnknownNameError
from vla_ros.types import Array, Image


@dataclass(frozen=True)
class DataSet:
    """A data set on disk; its rows and pictures are read when they are asked for."""

    folder: Path
    info: Mapping[str, Any]  # info.json
    tasks: tuple[str, ...]  # sentences, by task_index
    table: tuple[Mapping[str, Any], ...]  # an entry for each episode, without statistics
    stats: Mapping[str, Mapping[str, Array]]  # stats.json: column -> statistic -> a value each

    @property
    def robot(self) -> str | None:
        """The robot_type."""
        return self.info.get('robot_type')

    @property
    def rate(self) -> int:
        """Rows a second [Hz]."""
        return int(self.info['fps'])

    @property
    def episodes(self) -> int:
        """How many there are."""
        return len(self.table)

    @property
    def frames(self) -> int:
        """Rows of all episodes."""
        return int(self.table[-1]['dataset_to_index']) if self.table else 0

    @cached_property
    def features(self) -> Mapping[str, Feature]:
        """The columns."""
        return dict(self.info['features'])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, without what begins their keys."""
        return tuple(k.removeprefix(fmt.IMAGES) for k in self.features if _is_camera(self, k))

    def last(self, column: str) -> Place:
        """Return the place of the last file of 'data', 'meta/episodes' or 'videos/KEY'."""
        found = [(e[f'{column}/chunk_index'], e[f'{column}/file_index']) for e in self.table]
        return Place(*(int(part) for part in max(found)))

    def entry(self, episode: int) -> Mapping[str, Any]:
        """Return what the table of episodes says of one.

        Raises:
            BagError: There is no such episode.
        """
        if not 0 <= episode < self.episodes:
            raise BagError(
                f'{self.folder} has no episode {episode}: it has {self.episodes}, counted from 0.'
            )
        return self.table[episode]

    def task(self, episode: int) -> str:
        """Return the sentence of an episode."""
        return str(self.entry(episode)['tasks'][0])

    def column(self, episode: int, key: str) -> NDArray:
        """Return the values of one column in an episode: (K,) or (K, n).

        Raises:
            UnknownNameError: There is no such column.
            BagError: The file lacks rows.
        """
        columns = [k for k in self.features if self.features[k]['dtype'] not in ('video', 'image')]
        if key not in columns:
            raise UnknownNameError('column', key, columns, str(self.folder))
        values = self._rows(episode, key)
        if pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            flat = values.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return np.asarray(flat).reshape(len(values), -1)
        return np.asarray(values.to_numpy())

    def pictures(self, episode: int, camera: str) -> Iterator[Image]:
        """Yield a camera's pictures (H, W, 3) in an episode, one a row.

        Raises:
            UnknownNameError: There is no such camera.
            BagError: The video lacks pictures.
            PictureError: A picture in the table is damaged.
        """
        key = fmt.IMAGES + camera
        if camera not in self.cameras:
            raise UnknownNameError('camera', camera, self.cameras, str(self.folder))
        entry = self.entry(episode)
        if self.features[key]['dtype'] == 'image':
            yield from (_picture(cell) for cell in self._rows(episode, key).to_pylist())
            return
        place = Place(entry[f'videos/{key}/chunk_index'], entry[f'videos/{key}/file_index'])
        path = self.folder / place.path(self.info['video_path'], key)
        first = round(entry[f'videos/{key}/from_timestamp'] * self.rate)
        height, width = _size(self.features[key])
        yield from video.read(path, (height, width), self.rate, first, int(entry['length']))

    def _rows(self, episode: int, key: str) -> pa.ChunkedArray:
        entry = self.entry(episode)
        place = Place(entry['data/chunk_index'], entry['data/file_index'])
        path = self.folder / place.path(self.info['data_path'])
        try:
            only = [('episode_index', '=', episode)]
            values = pq.read_table(path, columns=[key], filters=only).column(key)
        except (OSError, pa.ArrowException) as error:
            raise BagError(f'{path} cannot be read ({error}): copy the data set again.') from error
        if len(values) != entry['length']:
            raise BagError(
                f'{path} has {len(values)} rows of episode {episode}, expected '
                f'{entry["length"]}: the data set is damaged; copy it again.'
            )
        return values


def open_data_set(folder: Path) -> DataSet:
    """Open a data set of version 3.

    Raises:
        BagError: There is none, it is of another version, or a table of it is damaged.
    """
    try:
        info = json.loads((folder / fmt.INFO).read_text(encoding='utf-8'))
        version = info['codebase_version']
        if not str(version).startswith('v3.'):
            raise BagError(
                f'{folder} is a LeRobot data set of version {version}, expected {fmt.VERSION}: '
                "convert it with LeRobot's own script."
            )
        if not info['total_episodes']:
            return DataSet(folder, info, (), (), {})
        tasks = pq.read_table(folder / fmt.TASKS).to_pylist()
        sentences = {int(row['task_index']): _sentence(row) for row in tasks}
        files = sorted((folder / 'meta/episodes').glob('*/*.parquet'))
        table = [row for file in files for row in _entries(file)]
        stats = json.loads((folder / fmt.STATS).read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise BagError(
            f'{folder} is no LeRobot data set: {error.filename} is missing. Name the folder that '
            f'holds {fmt.INFO}, or a new one.'
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise BagError(
            f'{folder} cannot be read as a LeRobot data set ({error!r}): copy it again.'
        ) from error
    if len(table) != info['total_episodes']:
        raise BagError(
            f'{folder} lists {len(table)} episodes, expected the {info["total_episodes"]} of '
            f'{fmt.INFO}: copy the data set again.'
        )
    return DataSet(
        folder,
        info,
        tuple(sentences[i] for i in sorted(sentences)),
        tuple(sorted(table, key=lambda entry: entry['episode_index'])),
        {k: {n: np.array(v) for n, v in found.items()} for k, found in stats.items()},
    )


def _entries(file: Path) -> list[dict[str, Any]]:
    names = [n for n in pq.read_schema(file).names if not n.startswith('stats/')]
    return list(pq.read_table(file, columns=names).to_pylist())


def _sentence(row: Mapping[str, Any]) -> str:
    """Return the sentence of a row: pandas names an index that has no name itself."""
    return str(row['task'] if 'task' in row else row['__index_level_0__'])


def _is_camera(data: DataSet, key: str) -> bool:
    return key.startswith(fmt.IMAGES) and data.features[key]['dtype'] in ('video', 'image')


def _size(feature: Feature) -> tuple[int, int]:
    """Return (height, width) of a camera's column, whichever axis holds the channels."""
    shape, names = feature['shape'], feature.get('names') or ()
    table = dict(zip(names, shape))
    if 'height' in table and 'width' in table:
        return int(table['height']), int(table['width'])
    return int(shape[0]), int(shape[1])


def _picture(cell: Mapping[str, Any]) -> Image:
    """Return a picture that stands in the table as the bytes of a file."""
    import cv2

    image = cv2.imdecode(np.frombuffer(cell['bytes'], np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise PictureError(f'a picture of {len(cell["bytes"])} bytes is damaged.')
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
