"""The filters of the picture kernels as matrices, and what a letterbox makes of a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def triangle(x):
    return np.clip(1.0 - np.abs(x), 0.0, None)


def cubic(x):
    """Keys' cubic with a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def weights(old: int, new: int, filter_: Callable, *, averages: bool) -> np.ndarray:
    """Return the matrix (new, old) of a filter around the centres of the new pixels."""
    ratio = old / new
    widened = max(ratio, 1.0) if averages else 1.0
    centres = (np.arange(new) + 0.5) * ratio - 0.5
    if not averages:
        centres = np.clip(centres, 0.0, old - 1.0)
    matrix = filter_((np.arange(old)[None] - centres[:, None]) / widened)
    return matrix / matrix.sum(axis=1, keepdims=True)


FILTERS = {
    'bilinear': (triangle, False),
    'pillow': (triangle, True),
    'bicubic': (cubic, True),
}


def largest(shape: tuple[int, int], size: int, kernel: str) -> tuple[int, int]:
    if kernel == 'bicubic':
        scale = min(size / shape[0], size / shape[1])
        return int(shape[0] * scale), int(shape[1] * scale)
    ratio = max(shape[1] / size, shape[0] / size)
    return int(shape[0] / ratio), int(shape[1] / ratio)


def resized(image: np.ndarray, size: int, kernel: str) -> np.ndarray:
    """Return a picture (rows, columns, 3) that fits into a square, 0 to 255.

    Along the rows first; in between, Pillow and torch round to whole levels.
    """
    filter_, averages = FILTERS[kernel]
    rows, columns = largest(image.shape[:2], size, kernel)
    across = weights(image.shape[1], columns, filter_, averages=averages)
    down = weights(image.shape[0], rows, filter_, averages=averages)
    middle = across @ image.astype(float)  # (H, columns, 3)
    if averages:
        middle = np.floor(middle + 0.5).clip(0.0, 255.0)
    found = np.tensordot(down, middle, 1).clip(0.0, 255.0)
    return np.floor(found + 0.5) if averages else found


def corner(shape: tuple[int, ...], size: int, sides: str) -> tuple[int, int]:
    """Return where a picture (rows, columns, 3) begins in a square: row and column."""
    rows, columns = size - shape[0], size - shape[1]
    return {'centre': (rows // 2, columns // 2), 'left-top': (rows, columns),
            'right-bottom': (0, 0)}[sides]  # fmt: skip


def letterbox(image: np.ndarray, size: int, kernel: str, sides: str, border: float) -> np.ndarray:
    """Return (3, size, size) on the scale -1 to 1."""
    inside = resized(image, size, kernel)
    top, left = corner(inside.shape, size, sides)
    square = np.full((size, size, 3), border)
    rows, columns = inside.shape[:2]
    square[top : top + rows, left : left + columns] = 2.0 * inside / 255.0 - 1.0
    return square.transpose(2, 0, 1)
