"""Rotations as policies write them, as quaternions xyzw (K, 4), and what lies between two."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.errors import ShapeError
from vla_ros.types import Array

# Euler angles [rad] about x, y, z in the order of the letters, as SciPy writes it: small letters
# turn about the fixed axes (extrinsic), capitals about the turned ones (intrinsic).
EULER = tuple(
    f'euler_{a}{b}{c}'
    for axes in ('xyz', 'XYZ')
    for a, b, c in product(axes, repeat=3)
    if a != b and b != c
)
ANGLES = (*EULER, 'axis_angle')  # in [rad]; the rest has no unit
SEVERAL = (*ANGLES, 'quaternion_xyzw', 'quaternion_wxyz')  # which write one rotation in two ways
WIDTHS = {
    **dict.fromkeys(ANGLES, 3),
    'quaternion_xyzw': 4,
    'quaternion_wxyz': 4,
    'rotation_6d': 6,  # first two columns (Zhou et al. 2019, arXiv 1812.07035)
    'rotation_6d_rows': 6,  # first two rows, as PyTorch3D has it
    'matrix': 9,  # row by row
}
_LEAST = 1e-6  # length below which a vector has no direction


def to_quaternions(values: Array, rotation: str) -> Array:
    """Return quaternions (K, 4) of rotations (K, W) in a representation of WIDTHS.

    Raises:
        ShapeError: A quaternion, matrix or pair of vectors is no rotation, not even nearly.
    """
    if rotation in EULER:
        return _quaternions(Rotation.from_euler(rotation[-3:], values))
    if rotation == 'axis_angle':
        return _quaternions(Rotation.from_rotvec(values))
    if rotation.startswith('quaternion'):
        values = values if rotation == 'quaternion_xyzw' else np.roll(values, -1, axis=1)
        return values / _lengths(values, rotation)
    if rotation == 'matrix':
        matrices = values.reshape(-1, 3, 3)
        if (np.linalg.det(matrices) < _LEAST).any():
            raise ShapeError('an action in matrix is no rotation: its determinant is not above 0.')
        return _quaternions(Rotation.from_matrix(matrices))
    first, second = values[:, :3], values[:, 3:]
    first = first / _lengths(first, rotation)
    second = second - (first * second).sum(axis=1, keepdims=True) * first
    second = second / _lengths(second, rotation)
    matrices = np.stack([first, second, np.cross(first, second)], axis=1)  # rows
    if rotation == 'rotation_6d':
        matrices = matrices.transpose(0, 2, 1)
    return _quaternions(Rotation.from_matrix(matrices))


def from_quaternions(
    quaternions: Array, rotation: str, near: tuple[float, ...] | None = None
) -> Array:
    """Return rotations (K, W) in a representation of WIDTHS, undoing `to_quaternions`.

    Args:
        quaternions: (K, 4).
        rotation: A word of WIDTHS.
        near: (W,) which of the numbers of one rotation is meant, of angles or quaternions: the
            nearest. None: the quaternion with w >= 0, the axis-angle that is at most pi long,
            and of Euler angles the middle one within pi / 2 of 0, or from 0 to pi where the
            first axis is the third.
    """
    turns = Rotation.from_quat(quaternions)
    if rotation in EULER:
        angles = np.asarray(turns.as_euler(rotation[-3:]))
        return angles if near is None else _nearest_euler(angles, rotation, np.array(near))
    if rotation == 'axis_angle':
        vectors = np.asarray(turns.as_rotvec())
        return vectors if near is None else _nearest_vector(vectors, np.array(near))
    if rotation.startswith('quaternion'):
        one = _quaternions(turns)
        one = one if rotation == 'quaternion_xyzw' else np.roll(one, 1, axis=1)
        w = [0.0, 0.0, 0.0, 1.0] if rotation == 'quaternion_xyzw' else [1.0, 0.0, 0.0, 0.0]
        return np.where((one @ (w if near is None else near))[:, None] < 0.0, -one, one)
    matrices = np.asarray(turns.as_matrix())
    if rotation == 'rotation_6d':
        matrices = matrices.transpose(0, 2, 1)
    size = 9 if rotation == 'matrix' else 6
    return matrices.reshape(-1, 9)[:, :size].copy()


def _nearest_euler(angles: Array, rotation: str, near: Array) -> Array:
    """Return, of a, b, c (K, 3) and a + pi, -b or pi - b, c + pi, the nearer."""
    middle = 0.0 if rotation[-3] == rotation[-1] else np.pi
    other = np.array([np.pi, middle, np.pi]) + angles * [1.0, -1.0, 1.0]
    both = near + (np.stack([angles, other]) - near + np.pi) % (2.0 * np.pi) - np.pi
    return _nearest(both, near)


def _nearest_vector(vectors: Array, near: Array) -> Array:
    """Return, of rotation vectors v (K, 3) and v - 2 pi v / |v|, the nearer."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    other = vectors - 2.0 * np.pi * vectors / np.where(lengths > _LEAST, lengths, np.inf)
    return _nearest(np.stack([vectors, other]), near)


def _nearest(both: Array, near: Array) -> Array:
    second = np.diff(np.linalg.norm(both - near, axis=2), axis=0)[0] < 0.0
    return np.where(second[:, None], both[1], both[0])


def between(start: Array, end: Array) -> Array:
    """Return the rotation vectors (K, 3) [rad] of end start^-1, base frame, the shorter way."""
    return np.asarray((Rotation.from_quat(end) * Rotation.from_quat(start).inv()).as_rotvec())


def slerp(start: Array, end: Array, share: Array) -> Array:
    """Return exp(share log(end start^-1)) start, quaternions (K, 4), the shorter way.

    Args:
        start: Quaternions (K, 4).
        end: Quaternions (K, 4).
        share: Of the way (K,), 0 to 1.
    """
    return turned(start, share[:, None] * between(start, end))


def turned(start: Array, way: Array) -> Array:
    """Return exp(way) start, quaternions (K, 4), for rotation vectors (K, 3) in the base frame."""
    return _quaternions(Rotation.from_rotvec(way) * Rotation.from_quat(start))


def mean(quaternions: Array, weights: Array) -> Array:
    """Return the rotations (K, 4) that are nearest to N each, by weighted chordal distance.

    It is the eigenvector of the largest eigenvalue of sum_n w_n q_n q_n^T, so that q and -q are
    one rotation (Markley et al. 2007, Averaging quaternions).

    Args:
        quaternions: (N, K, 4).
        weights: (N, K), not negative.
    """
    gram = np.einsum('nk,nki,nkj->kij', weights, quaternions, quaternions)
    return np.asarray(np.linalg.eigh(gram)[1][:, :, -1])


def _quaternions(turns: Rotation) -> Array:
    return np.asarray(turns.as_quat())


def _lengths(vectors: Array, rotation: str) -> Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (lengths < _LEAST).any():
        raise ShapeError(f'an action in {rotation} is no rotation: a vector has no direction.')
    return lengths
