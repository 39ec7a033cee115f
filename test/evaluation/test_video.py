"""What was written can be read again, and is of the kind that browsers play."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vla_ros.bags.video import VideoWriter
from vla_ros.errors import ShapeError
from vla_ros.evaluation.video import CAPTION_HEIGHT, compose, GAP, write


def _flat(value: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def test_compose_keeps_pictures_and_writes_below_them() -> None:
    image = compose([_flat(50), _flat(200)], 'reach the ball', 'S0')
    assert image.shape == (96 + CAPTION_HEIGHT, 256 + GAP, 3)
    assert (image[:96, :128] == 50).all()
    assert (image[:96, 128 + GAP :] == 200).all()
    strip = image[96:]
    assert strip[:, :128].max() > 200  # ink of the caption
    assert strip[:, -40:].max() > 200  # ink of the note


def test_odd_sides_are_cut_to_even_ones() -> None:
    assert compose([_flat(0, (95, 127))], '').shape == (138, 126, 3)


def test_pictures_of_two_heights_are_refused() -> None:
    with pytest.raises(ShapeError, match='height'):
        compose([_flat(0), _flat(0, (48, 64))], '')


def test_video_is_h264_in_faststart_mp4_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / 'run.mp4'
    write(path, (_flat(20 * k) for k in range(10)), rate=10.0)
    data = path.read_bytes()
    assert b'avc1' in data
    assert data.index(b'moov') < data.index(b'mdat')  # plays before it is all there
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    means = []
    while True:
        ok, image = video.read()
        if not ok:
            break
        means.append(image.mean())
    assert means == pytest.approx([20.0 * k for k in range(10)], abs=3.0)


def test_a_picture_of_another_shape_is_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'x.mp4', 10.0) as video:
        video.add(_flat(0))
        with pytest.raises(ShapeError, match='expected'):
            video.add(_flat(0, (48, 64)))


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='ffmpeg could not write'):
        write(tmp_path / 'none' / 'x.mp4', [_flat(0)], 10.0)
