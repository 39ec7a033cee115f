"""One camera of a data set that is being written: video files, and statistics an episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vla_ros.bags.lerobot_format import Place, VIDEO, VIDEO_MEGABYTES
from vla_ros.bags.lerobot_stats import PictureStats
from vla_ros.bags.video import VideoWriter
from vla_ros.errors import BagError, ShapeError
from vla_ros.types import Array, Image

QUALITY = 18  # of x264: what it loses is not seen
KEYFRAMES = 2  # as LeRobot writes: a loader that jumps decodes two pictures at most


@dataclass(frozen=True)
class Clip:
    """Where an episode stands in the videos, and its statistics."""

    place: Place
    start: float  # [s]
    end: float  # [s]
    stats: dict[str, Array]


class CameraWriter:
    """Takes the pictures of one episode after another; several episodes share a file."""

    def __init__(
        self,
        key: str,
        shape: tuple[int, int],
        rate: int,
        place: Place,
        fresh: Callable[[str], Path],
        lengths: list[int],
    ) -> None:
        """Write nothing yet.

        Args:
            key: Of the column.
            shape: (H, W) of every picture [px].
            rate: Pictures a second [Hz].
            place: Of the first file.
            fresh: Gives the path of a new file.
            lengths: Pictures of each episode.

        Raises:
            ShapeError: A side is odd, which the pixel format of the video has no room for.
        """
        if shape[0] % 2 or shape[1] % 2:
            raise ShapeError(
                f"pictures of '{key}' are {shape[1]}x{shape[0]}, expected even sides: let the "
                'camera driver crop a row or a column.'
            )
        self.key, self.clips = key, list[Clip]()
        self._shape, self._rate, self._place, self._fresh = shape, rate, place, fresh
        self._lengths = lengths
        self._video: VideoWriter | None = None
        self._stats = PictureStats(lengths[0])
        self._row = 0  # of the episode
        self._first = 0  # picture of the file with which the episode begins

    @property
    def is_complete(self) -> bool:
        """Whether every picture has come."""
        return len(self.clips) == len(self._lengths)

    def add(self, image: Image) -> None:
        """Take the next picture (H, W, 3).

        Raises:
            ShapeError: It has another size.
            BagError: There are no more to come.
        """
        if self.is_complete:
            raise BagError(f"'{self.key}' has every picture already.")
        if image.shape != (*self._shape, 3):
            raise ShapeError(
                f"a picture of '{self.key}' is {image.shape}, expected {(*self._shape, 3)} as the "
                'first: a data set has one size a camera.'
            )
        if self._video is None:
            path = self._fresh(self._place.path(VIDEO, self.key))
            self._video = VideoWriter(path, self._rate, quality=QUALITY, keyframes=KEYFRAMES)
        self._video.add(image)
        self._stats.add(self._row, image)
        self._row += 1
        if self._row == self._lengths[len(self.clips)]:
            self._end_episode()

    def close(self) -> None:
        """Finish the file in hand.

        Raises:
            OSError: The encoder could not write it.
        """
        if self._video is not None:
            video, self._video = self._video, None
            video.close()

    def _end_episode(self) -> None:
        end = self._first + self._row
        self.clips.append(
            Clip(self._place, self._first / self._rate, end / self._rate, self._stats.result())
        )
        self._row, self._first = 0, end
        if self.is_complete:
            return
        self._stats = PictureStats(self._lengths[len(self.clips)])
        assert self._video is not None
        if self._video.size > VIDEO_MEGABYTES << 20:
            self.close()
            self._place, self._first = self._place.next, 0
