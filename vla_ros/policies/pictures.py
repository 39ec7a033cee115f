"""Camera pictures as networks were trained to see them: resized as they are, bars around them.

Sources: openpi-client's image_tools (Pillow), LeRobot's resize_with_pad (torch), transformers'
PI0ImageProcessor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.types import Image

SIDES = ('centre', 'left-top', 'right-bottom')  # where the bars lie
KERNELS = (
    'bilinear',  # torch, four neighbours, no rounding: LeRobot
    'pillow',  # Pillow's bilinear, which averages what it reduces: openpi
    'bicubic',  # torch, averages what it reduces: transformers
)


def resize_with_pad(
    image: Image,
    height: int,
    width: int,
    *,
    sides: str = 'centre',
    fill: float = 0.0,
    kernel: str = 'bilinear',
) -> NDArray[np.float32]:
    """Return a picture of (height, width, 3) that keeps its proportions, bars where it ends.

    Args:
        image: (H, W, 3) uint8.
        height: Of the result [px].
        width: Of the result [px].
        sides: A word of SIDES; of 'centre' the odd pixel goes right and below.
        fill: Value of the bars, on the scale of the picture, 0 black to 255 white.
        kernel: A word of KERNELS; 'bilinear' gives fractions, the others whole numbers.

    Raises:
        UnknownNameError: The sides or the kernel have another name.
        ConfigError: The picture is so long that nothing of its short side would remain.
    """
    if sides not in SIDES:
        raise UnknownNameError('side of the bars', sides, SIDES)
    if kernel not in KERNELS:
        raise UnknownNameError('kernel', kernel, KERNELS)
    size, (top, left) = _placed(image.shape[:2], height, width, sides, kernel)
    # Planes first, as torch gives and networks take them: nothing is turned over twice.
    padded = np.full((3, height, width), fill, dtype=np.float32)
    padded[:, top : top + size[0], left : left + size[1]] = _resized(image, size, kernel)
    return padded.transpose(1, 2, 0)


def _placed(
    shape: tuple[int, ...], height: int, width: int, sides: str, kernel: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the largest (rows, columns) that fit, and where they begin (row, column).

    Each reference rounds in its own way.
    """
    if kernel == 'bicubic':
        scale = min(height / shape[0], width / shape[1])
        rows, columns = int(shape[0] * scale), int(shape[1] * scale)
    else:
        ratio = max(shape[1] / width, shape[0] / height)
        rows, columns = int(shape[0] / ratio), int(shape[1] / ratio)
    if min(rows, columns) < 1:
        raise ConfigError(
            f'a picture of {shape[1]}x{shape[0]} px has no place in {width}x{height}: crop it.'
        )
    before = {'centre': 0.5, 'left-top': 1.0, 'right-bottom': 0.0}[sides]
    return (rows, columns), (int(before * (height - rows)), int(before * (width - columns)))


def _resized(image: Image, size: tuple[int, int], kernel: str) -> np.ndarray:
    """Return the picture in (3, rows, columns)."""
    if image.shape[:2] == size:
        return image.transpose(2, 0, 1)
    if kernel == 'pillow':
        reduced = Pillow.fromarray(image).resize(size[::-1], Pillow.Resampling.BILINEAR)
        return np.asarray(reduced).transpose(2, 0, 1)
    import torch  # here, for clients of a policy server may lack it
    from torch.nn.functional import interpolate

    planes = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    if kernel == 'bicubic':
        found = interpolate(planes, size, mode='bicubic', align_corners=False, antialias=True)
    else:
        found = interpolate(planes.float(), size, mode='bilinear', align_corners=False)
    return found[0].numpy()


@dataclass(frozen=True)
class Letterbox:
    """How one family of checkpoints wants its pictures: squares on the scale -1 to 1."""

    size: int  # [px] side of the square
    kernel: str  # of KERNELS
    sides: str = 'centre'  # of SIDES
    border: float = -1.0  # value of the bars after scaling; -1 is black

    @property
    def fill(self) -> float:
        """Return the value of the bars on the scale of a picture, 0 to 255."""
        return 127.5 * (self.border + 1.0)

    def placed(self, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the size (rows, columns) of a picture in the square, and where it begins.

        Raises:
            ConfigError: A picture (H, W) is so long that nothing of its short side would remain.
        """
        return _placed(shape, self.size, self.size, self.sides, self.kernel)

    def __call__(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Return (n, 3, size, size) float32: 2 picture / 255 - 1."""
        planes = np.stack([
            resize_with_pad(
                image, self.size, self.size, sides=self.sides, fill=self.fill, kernel=self.kernel
            ).transpose(2, 0, 1)
            for image in images
        ])
        planes /= np.float32(127.5)
        planes -= np.float32(1.0)
        return planes
