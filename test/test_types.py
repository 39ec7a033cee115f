"""The values between the rooms: shapes are checked, arrays are copied and read-only."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from vla_ros.errors import ShapeError
from vla_ros.types import ActionChunk, Frame, frozen, JointCommand, JointState, Trajectory

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(
    hnp.arrays(st.sampled_from([np.float32, np.float64, np.int16, np.uint8]), SHAPES),
    st.lists(st.none() | st.integers(0, 4), max_size=4).map(tuple),
)
def test_frozen_accepts_exactly_the_shapes_that_fit(array, shape):
    fits = len(shape) == array.ndim and all(
        s in (None, n) for s, n in zip(shape, array.shape, strict=True)
    )
    if not fits:
        with pytest.raises(ShapeError, match='it has shape'):
            frozen(array, shape, 'it')
        return
    result = frozen(array, shape, 'it')
    np.testing.assert_array_equal(result, array.astype(np.float64))
    assert result.dtype == np.float64
    assert result.flags.c_contiguous


@pytest.mark.parametrize('value', [[[1], [1, 2]], 'words', [1j], {}])
def test_what_is_not_numbers_is_a_shape_error(value):
    with pytest.raises(ShapeError, match='it '):
        frozen(value, (None,), 'it')


def test_values_are_copies_that_cannot_be_written():
    position, velocity = np.zeros(3), np.ones(3)
    state = JointState(0.0, position, velocity)
    position[0] = 5.0
    assert state.position[0] == 0.0
    with pytest.raises(ValueError, match='read-only'):
        state.velocity[0] = 2.0
    with pytest.raises(FrozenInstanceError):
        state.stamp = 1.0


def test_lengths_that_disagree_are_refused():
    with pytest.raises(ShapeError, match=r'velocity has shape \(2,\), expected \(3\)'):
        JointState(0.0, np.zeros(3), np.zeros(2))
    with pytest.raises(ShapeError, match='positions'):
        Trajectory(0.0, np.arange(4), np.zeros((3, 8)))
    with pytest.raises(ShapeError, match='velocities'):
        Trajectory(0.0, np.arange(3), np.zeros((3, 8)), np.zeros((3, 7)))
    with pytest.raises(ShapeError, match='velocities'):
        JointCommand(0.0, np.arange(3), np.zeros((3, 8)), np.zeros((2, 8)))
    with pytest.raises(ShapeError, match='actions'):
        ActionChunk(0.0, np.zeros(4), 0.1)


@pytest.mark.parametrize('step', [0.0, -0.1, float('nan')])
def test_a_chunk_advances_in_time(step):
    with pytest.raises(ShapeError, match='step'):
        ActionChunk(0.0, np.zeros((2, 4)), step)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_a_frame_is_rgb_bytes(image):
    with pytest.raises(ShapeError, match='uint8'):
        Frame(0.0, image)


def test_only_what_nobody_can_change_is_not_copied():
    own = np.arange(3.0)
    assert frozen(own, (3,), 'it') is not own
    own.setflags(write=False)
    assert frozen(own, (3,), 'it') is own
    base = np.arange(6.0)
    view = base[:3]
    view.setflags(write=False)
    kept = frozen(view, (3,), 'it')
    base[:] = 0.0
    np.testing.assert_array_equal(kept, [0.0, 1.0, 2.0])
    with pytest.raises(ShapeError):
        frozen(own, (4,), 'it')


@pytest.mark.parametrize(
    'shapes', [((2,), (3, 2), (3, 2)), ((3,), (3, 2), (3, 1)), ((3,), (3,), (3,))]
)
def test_a_command_of_read_only_arrays_is_checked_too(shapes):
    arrays = [np.zeros(shape) for shape in shapes]
    for array in arrays:
        array.setflags(write=False)
    with pytest.raises(ShapeError):
        JointCommand(0.0, *arrays)


def test_a_command_of_its_own_arrays_is_the_plain_one_and_read_only():
    arrays = np.array([0.1, 0.2]), np.ones((2, 3)), np.zeros((2, 3))
    plain, own = JointCommand(1.0, *arrays), JointCommand.own(1.0, *arrays)
    for name in ('stamp', 'times', 'positions', 'velocities'):
        np.testing.assert_array_equal(getattr(own, name), getattr(plain, name))
    assert own.positions is arrays[1] and vars(own).keys() == vars(plain).keys()
    with pytest.raises(ValueError, match='read-only'):
        own.positions[0, 0] = 2.0
    with pytest.raises(FrozenInstanceError):
        own.stamp = 2.0
