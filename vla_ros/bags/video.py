"""H.264 video files, written and read by the ffmpeg binary in the imageio-ffmpeg wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import subprocess
from types import TracebackType

import numpy as np

from vla_ros.errors import BagError, MissingPackageError, ShapeError
from vla_ros.types import Image

LIMIT = 60.0  # [s] for the encoder to finish a file


class VideoWriter:
    """Writes an MP4 that browsers play (H.264, yuv420p, index in front); a context manager.

    The encoder runs as a process of its own.
    """

    def __init__(
        self, path: Path, rate: float, *, quality: int = 23, keyframes: int | None = None
    ) -> None:
        """Open nothing yet: the first picture gives the size.

        Args:
            path: File to write; its folder must exist.
            rate: Pictures a second [Hz].
            quality: x264's constant rate factor: 0 loses nothing but chroma, 51 is worst.
            keyframes: Every so many-th picture can be read without those before it, and none
                needs one after it; None leaves both to the encoder.
        """
        self.path, self.rate = Path(path), rate
        self._options = ['-crf', str(quality)]
        if keyframes is not None:
            self._options += ['-g', str(keyframes), '-bf', '0']
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        """Return itself."""
        return self

    @property
    def size(self) -> int:
        """Length of the file so far [byte]; the encoder makes it when it has something."""
        return self.path.stat().st_size if self.path.exists() else 0

    def add(self, image: Image) -> None:
        """Append a picture (H, W, 3) uint8 RGB with even sides, all of one shape."""
        if self._process is None:
            self._shape = image.shape
            self._process = self._start(*image.shape[:2])
        if image.shape != self._shape:
            raise ShapeError(f'picture is {image.shape}, expected {self._shape} as the first.')
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(image).tobytes())
        except BrokenPipeError:  # the encoder has ended, and says why
            self.close()
            raise

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: The encoder could not write it, as on a full disk.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            _, complaint = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        if process.returncode:
            raise OSError(f'ffmpeg could not write {self.path}: {complaint.decode().strip()}')

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file; an error inside the block counts more than one of the encoder."""
        try:
            self.close()
        except OSError:
            if error is None:
                raise

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        command = [
            ffmpeg(), '-y', '-loglevel', 'error',
            '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r',
            f'{self.rate:g}', '-i', '-', '-an', '-vcodec', 'libx264', '-preset', 'veryfast',
            *self._options, '-threads', '1', '-pix_fmt', 'yuv420p', '-movflags', '+faststart',
            str(self.path),
        ]  # fmt: skip
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )


def read(
    path: Path, shape: tuple[int, int], rate: float, first: int, count: int
) -> Iterator[Image]:
    """Yield pictures (H, W, 3) of a video of a fixed rate.

    Args:
        path: The file; any codec that ffmpeg reads.
        shape: (H, W) [px].
        rate: Pictures a second [Hz].
        first: Number of the first picture, counted from 0.
        count: How many.

    Raises:
        BagError: There are fewer, or the file cannot be read.
    """
    # Half a picture early: the seek drops what lies before, however the times are rounded.
    seek = ['-ss', f'{(first - 0.5) / rate:.6f}'] if first else []
    command = [
        ffmpeg(), '-loglevel', 'error', '-threads', '1', *seek, '-i', str(path),
        '-an', '-fps_mode', 'passthrough', '-frames:v', str(count),
        '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-',
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    size = 3 * shape[0] * shape[1]
    try:
        assert process.stdout is not None and process.stderr is not None
        for index in range(count):
            data = process.stdout.read(size)
            if len(data) < size:
                said = process.stderr.read().decode().strip() or 'it ends there'
                raise BagError(
                    f'{path} has no picture {first + index} of {shape[1]}x{shape[0]} px ({said}): '
                    'the data set is damaged; copy it again.'
                )
            yield np.frombuffer(data, np.uint8).reshape(*shape, 3)
    finally:
        process.kill()
        process.communicate()


def ffmpeg() -> str:
    """Return the path of the binary.

    Raises:
        MissingPackageError: The wheel is not installed.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise MissingPackageError(
            'imageio-ffmpeg', 'to write and to read video', 'pip install imageio-ffmpeg'
        ) from error
    return str(get_ffmpeg_exe())
