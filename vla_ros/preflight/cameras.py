"""Size, encoding, content and camera_info of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_ros.preflight.facts import Facts, View, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, unseen, warn
from vla_ros.robot import Camera

BLACK = 8  # of 255: brightest pixel of a picture that shows nothing
FLAT = 0.5  # of 255: deviation of the pixels of a picture that shows nothing
MOVED = 0.05  # [rad] of motion that a camera on or before the arm must show
FOV = 0.1  # [rad] by which a calibration may differ from the robot file


def judge_cameras(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with the pictures of each camera."""
    problems: list[Finding] = []
    seen = [camera for camera in wanted.robot.cameras if facts.views.get(camera.name)]
    if not any(facts.views[camera.name].pictures for camera in seen):
        return [unseen('cameras', 'no picture came')]
    for camera in seen:
        view = facts.views[camera.name]
        if view.pictures:
            problems += [*_format(camera, view), *_content(camera, view, facts)]
        problems += _lens(camera, view)
    told = ', '.join(f'{c.name} {c.width}x{c.height}' for c in seen)
    return gather('cameras', problems, told)


def _format(camera: Camera, view: View) -> Iterator[Finding]:
    last = view.pictures[-1]
    if last.problem:
        cure = 'let the driver publish rgb8 or bgr8, or JPEG or PNG with transport: compressed'
        yield bad('cameras', f'{camera.name}: {last.problem}', 'colour or grey of 8 bits', cure)
        return
    if (last.width, last.height) != (camera.width, camera.height):
        cure = 'set the size in the driver, or width and height in the robot file'
        found = f'{camera.name}: pictures of {last.width}x{last.height}'
        yield bad('cameras', found, f'{camera.width}x{camera.height}', cure)


def _content(camera: Camera, view: View, facts: Facts) -> Iterator[Finding]:
    pictures = [picture for picture in view.pictures if not picture.problem]
    if not pictures:
        return
    if all(p.brightest <= BLACK for p in pictures):
        cure = 'take the cap off, give light, lengthen the exposure'
        yield bad('cameras', f'{camera.name}: pictures are black', 'a picture of the cell', cure)
    elif all(p.contrast < FLAT for p in pictures):
        cure = 'look at the camera and its driver: every pixel is the same'
        yield bad('cameras', f'{camera.name}: pictures are flat', 'a picture of the cell', cure)
    elif len(pictures) > 1 and len({p.digest for p in pictures}) == 1:
        cure = 'restart the driver: it sends one picture again and again'
        found = f'{camera.name}: {len(pictures)} pictures are the same to the last bit'
        if _moved(facts):
            yield bad('cameras', f'{found}, and the arm moved', 'new pictures', cure)
        elif not facts.simulated:  # a real sensor is never without noise; a drawn scene is
            yield warn('cameras', found, 'the noise of a sensor', cure)


def _moved(facts: Facts) -> bool:
    if facts.joints is None:
        return False
    place = facts.joints.positions
    known = place[:, ~np.isnan(place).any(axis=0)]
    return bool(known.size and np.ptp(known, axis=0).max() > MOVED)


def _lens(camera: Camera, view: View) -> Iterator[Finding]:
    lens = view.lens
    if lens is None:
        return
    if (lens.width, lens.height) != (camera.width, camera.height):
        cure = 'calibrate at the size that is published'
        found = f'{camera.name}: camera_info is of {lens.width}x{lens.height}'
        yield warn('cameras', found, f'{camera.width}x{camera.height}', cure)
    elif not lens.fy > 0.0:
        cure = 'calibrate the camera; policies that use geometry need it'
        yield warn('cameras', f'{camera.name}: camera_info is empty', 'a calibration', cure)
    else:
        fovy = 2.0 * np.arctan(0.5 * lens.height / lens.fy)
        if abs(fovy - camera.fovy) > FOV:
            cure = 'correct fovy: in the robot file: simulation and markers use it'
            found = f'{camera.name}: camera_info says a view of {fovy:.2f} rad'
            yield warn('cameras', found, f'{camera.fovy:g} rad', cure)
