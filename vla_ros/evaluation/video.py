"""H.264 video of a run: the cameras side by side under the sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
import subprocess
from types import TracebackType

import cv2
import numpy as np

from vla_ros.errors import MissingPackageError, ShapeError
from vla_ros.types import Image

CAPTION_HEIGHT = 44  # [px]
GAP = 4  # [px] between two pictures
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PAPER = (235, 235, 235), (24, 26, 30)  # RGB


def compose(images: Sequence[Image], caption: str, note: str = '') -> Image:
    """Put pictures of one height side by side above a caption.

    Args:
        images: Each (H, W, 3).
        caption: Text on the left, such as the instruction.
        note: Text on the right, such as the safety level.
    """
    if len({image.shape[0] for image in images}) != 1:
        raise ShapeError(f'pictures differ in height: {[i.shape for i in images]}.')
    bar = np.full((images[0].shape[0], GAP, 3), _PAPER, dtype=np.uint8)
    row = np.concatenate([p for image in images for p in (bar, image)][1:], axis=1)
    strip = np.full((CAPTION_HEIGHT, row.shape[1], 3), _PAPER, dtype=np.uint8)
    baseline = CAPTION_HEIGHT - 15
    cv2.putText(strip, caption, (12, baseline), _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    (length, _), _ = cv2.getTextSize(note, _FONT, 0.6, 1)
    at = (row.shape[1] - length - 12, baseline)
    cv2.putText(strip, note, at, _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    even = row.shape[1] - row.shape[1] % 2  # yuv420p halves both axes
    whole = np.concatenate([row, strip], axis=0)
    return np.ascontiguousarray(whole[: whole.shape[0] - whole.shape[0] % 2, :even])


class VideoWriter:
    """Writes an MP4 that browsers play (H.264, yuv420p, index in front); a context manager.

    The encoder is the ffmpeg binary in the imageio-ffmpeg wheel, run as a process of its own.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """Open nothing yet: the first picture gives the size.

        Args:
            path: File to write; its folder must exist.
            rate: Pictures a second [Hz].
        """
        self.path, self.rate = Path(path), rate
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        """Return itself."""
        return self

    def add(self, image: Image) -> None:
        """Append a picture (H, W, 3) uint8 RGB with even sides, all of one shape."""
        if self._process is None:
            self._shape = image.shape
            self._process = _start(self.path, image.shape, self.rate)
        if image.shape != self._shape:
            raise ShapeError(f'picture is {image.shape}, expected {self._shape} as the first.')
        assert self._process.stdin is not None
        self._process.stdin.write(np.ascontiguousarray(image).tobytes())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file."""
        if self._process is None:
            return
        _, complaint = self._process.communicate(timeout=60)
        if self._process.returncode and error is None:
            raise OSError(f'ffmpeg could not write {self.path}: {complaint.decode().strip()}')


def write(path: Path, images: Iterable[Image], rate: float) -> None:
    """Write a whole video."""
    with VideoWriter(path, rate) as writer:
        for image in images:
            writer.add(image)


def _start(path: Path, shape: tuple[int, ...], rate: float) -> subprocess.Popen[bytes]:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise MissingPackageError(
            'imageio-ffmpeg', 'to write video', 'pip install imageio-ffmpeg'
        ) from error
    height, width, _ = shape
    command = [
        get_ffmpeg_exe(), '-y', '-loglevel', 'error',
        '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', f'{rate:g}',
        '-i', '-', '-an', '-vcodec', 'libx264', '-preset', 'veryfast', '-crf', '23',
        '-threads', '1', '-pix_fmt', 'yuv420p', '-movflags', '+faststart', str(path),
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
