"""H.264 video of a run: the cameras side by side under the sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from vla_ros.bags.video import VideoWriter
from vla_ros.errors import ShapeError
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


def write(path: Path, images: Iterable[Image], rate: float) -> None:
    """Write a whole video."""
    with VideoWriter(path, rate) as writer:
        for image in images:
            writer.add(image)
