"""Tokens that are kept: which, for how long, and that others are those of their picture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import torch

from vla_ros.models.kept import KeptVision

SIDE, PATCH, CHANGE, CHUNKS = 12, 4, 0.25, 3


class Eye:
    """Tokens that tell their picture."""

    patch = PATCH

    def __init__(self):
        self.seen = 0  # pictures that were encoded

    def __call__(self, pixels):
        self.seen += len(pixels)
        return pixels.flatten(1)[:, :, None] * torch.tensor([1.0, -2.0])


def pictures(*levels: float) -> torch.Tensor:
    """Return a picture of one level for each camera."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, SIDE, SIDE).clone()


def test_a_camera_keeps_its_tokens_while_its_own_picture_changes_little():
    eye = Eye()
    kept = KeptVision(eye, CHANGE, CHUNKS)
    first = pictures(0.0, 0.5)
    assert torch.equal(kept(first), Eye()(first))
    mixed = kept(pictures(0.2, -0.5))  # the first one changed by less than 0.25
    assert torch.equal(mixed, Eye()(pictures(0.0, -0.5)))
    assert eye.seen == 3
    # Slow changes add up: the picture is compared with the one whose tokens are kept.
    assert torch.equal(kept(pictures(0.4, -0.5)), Eye()(pictures(0.4, -0.5)))
    assert eye.seen == 4


def test_one_patch_that_changed_is_enough():
    kept, moved = KeptVision(Eye(), CHANGE, CHUNKS), pictures(0.0)
    kept(moved)
    moved = moved.clone()
    moved[:, :, 4:8, 8:12] = 0.3
    assert moved.abs().mean() < 0.1 * CHANGE * 2
    assert torch.equal(kept(moved), Eye()(moved))


def test_tokens_are_kept_for_so_many_chunks_and_forgotten_with_the_episode():
    eye = Eye()
    kept = KeptVision(eye, CHANGE, CHUNKS)
    for call in range(2 * CHUNKS + 2):
        kept(pictures(0.001 * call))
    assert eye.seen == 2
    kept.forget()
    assert torch.equal(kept(pictures(0.002)), Eye()(pictures(0.002)))


def test_another_number_of_cameras_and_what_is_no_number_are_encoded():
    eye = Eye()
    kept = KeptVision(eye, CHANGE, CHUNKS)
    kept(pictures(0.0))
    assert kept(pictures(0.0, 0.0)).shape[0] == 2 and eye.seen == 3
    kept(pictures(0.0, float('nan')))
    assert eye.seen == 4


@given(st.lists(st.lists(st.floats(-1.0, 1.0, width=32), min_size=2, max_size=2), min_size=1,
                max_size=8))  # fmt: skip
def test_what_is_answered_is_never_older_or_farther_than_allowed(levels):
    kept, history = KeptVision(Eye(), CHANGE, CHUNKS), []
    for pair in levels:
        now = pictures(*pair)
        history = [*history, now][-CHUNKS - 1 :]
        found = kept(now)
        for camera in range(2):
            near = [old[camera] for old in history
                    if (old[camera] - now[camera]).abs().max() <= CHANGE + 1e-6]  # fmt: skip
            assert any(torch.equal(found[camera], Eye()(old[None])[0]) for old in near)
