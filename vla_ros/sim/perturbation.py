"""Perturbations: how a scene, its pictures and its sentence differ from those of the suite.

The seven axes of LIBERO-Plus (arXiv:2510.13626), with sizes of our own. Each is a pure function of
(seed, axis, severity): a seed draws in which way, the severity s scales how far, so that the same
seed at two severities differs in size alone. At s = 0 nothing differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.robot import Camera
from vla_ros.sim.layout import Layout, push_is_clear, scattered
from vla_ros.sim.rewording import reworded
from vla_ros.sim.tasks import Episode
from vla_ros.types import Array, Image

AXES = ('layout', 'camera', 'start', 'language', 'light', 'background', 'noise')
MOST = 5  # severity
OUTWARD = 0.01  # [m] from the middle of the free area
AZIMUTH, ELEVATION = math.radians(2.0), math.radians(1.5)  # [rad] of a camera
ZOOM = 0.03  # of a camera's distance
ASIDE, UPWARD = 0.03, 0.01  # [m] that a level moves the tool's start, along the table and up
BRIGHTNESS = (-0.12, 0.06)  # of all lights; brighter ones soon bleach everything
SLANT = math.radians(8.0)  # [rad] of the lamp
TINT = 0.05  # of each colour of the lamp
PAINT = 0.16  # share of another colour on table and floor
GRAIN = 6.0  # standard deviation of noise, of 255
BLUR = 0.003  # standard deviation of a blur, of the picture's size
SMEAR = 0.012  # length of motion blur, of the picture's size
FOG = 0.12  # share of grey
NOISES = ('grain', 'blur', 'smear', 'fog')


@dataclass(frozen=True)
class Look:
    """How lamp and surfaces differ; the default is as they are."""

    brightness: float = 1.0
    slant: float = 0.0  # [rad] by which the lamp's direction turns, about a horizontal axis
    about: float = 0.0  # [rad] azimuth of that axis
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor of each colour of the lamp
    paint: float = 0.0  # share of other colours
    table: tuple[float, float, float] = (0.0, 0.0, 0.0)  # RGB 0 to 1
    floor: tuple[float, float, float] = (0.0, 0.0, 0.0)  # RGB 0 to 1


@dataclass(frozen=True)
class Perturbation:
    """One axis at one severity for one seed; what belongs to another axis stays as it is."""

    axis: str  # a word of AXES
    severity: int  # 0 to MOST
    seed: int

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise UnknownNameError('axis of perturbation', self.axis, AXES)
        if not 0 <= self.severity <= MOST:
            raise ConfigError(f'{self.axis} has severity {self.severity}, expected 0 to {MOST}.')

    def episode(self, episode: Episode) -> Episode:
        """Return the episode with another layout or another sentence.

        Layout: every centre moves outward from the middle m of the area, c + 1 cm s (c - m) /
        |c - m|, where a push stays clear; s eggs of other colours lie between the objects.
        Language: see `rewording.reworded`.
        """
        if self.axis == 'language':
            return replace(episode, instruction=reworded(episode, self.severity, self._rng()))
        if self.axis != 'layout':
            return episode
        moved = scattered(episode.layout, OUTWARD * self.severity)
        clear = episode.task != 'push' or push_is_clear(
            moved, episode.target, np.array(episode.direction)
        )
        layout = moved if clear else episode.layout
        return replace(episode, layout=self._littered(layout))

    def start(self, tool: Array) -> Array:
        """Return where (3,) [m] the tool starts instead.

        3 cm s aside in any direction, and up to 1 cm s up or down.
        """
        if self.axis != 'start':
            return tool
        rng, size = self._rng(), self.severity
        angle = rng.uniform(-np.pi, np.pi)
        step = (ASIDE * np.cos(angle), ASIDE * np.sin(angle), UPWARD * rng.uniform(-1.0, 1.0))
        return np.asarray(tool + size * np.array(step))

    def camera(self, camera: Camera, carried: bool) -> Camera:
        """Return a camera that was moved by 2 deg s in azimuth and 1.5 deg s in elevation.

        One that stands moves on a sphere about what it looks at, of a radius 3 % s larger or
        smaller. One that the arm carries turns in its seat. Each in either sense.
        """
        if self.axis != 'camera':
            return camera
        signs = self._rng().choice((-1.0, 1.0), 3)
        azimuth, elevation, zoom = signs * self.severity * (AZIMUTH, ELEVATION, ZOOM)
        seat, target = np.array(camera.position), np.array(camera.look_at)
        up = np.array(camera.up) / np.linalg.norm(camera.up)
        side = np.cross(up, seat - target) / np.linalg.norm(np.cross(up, seat - target))
        turns = Rotation.from_rotvec(up * azimuth) * Rotation.from_rotvec(side * elevation)
        if carried:
            return replace(camera, look_at=_triple(seat + turns.apply(target - seat)))
        moved = target + turns.apply((seat - target) * (1.0 + zoom))
        return replace(camera, position=_triple(moved))

    def look(self) -> Look:
        """Return lamp and surfaces.

        Light: all lights 12 % s darker or 6 % s brighter, the lamp slanted by 8 deg s, each of its
        colours by up to 5 % s. Background: table and floor painted with 16 % s of other colours,
        muted so that the objects' colours stay alone.
        """
        rng, size = self._rng(), self.severity
        if not size:
            return Look()
        if self.axis == 'light':
            return Look(
                brightness=1.0 + size * float(rng.choice(BRIGHTNESS)),
                slant=size * SLANT,
                about=float(rng.uniform(-np.pi, np.pi)),
                tint=_triple(1.0 + size * TINT * rng.uniform(-1.0, 1.0, 3)),
            )
        if self.axis == 'background':
            return Look(paint=size * PAINT, table=_muted(rng), floor=_muted(rng))
        return Look()

    def picture(self, image: Image, count: int) -> Image:
        """Return a picture as a worse camera would give it.

        Args:
            image: (H, W, 3) uint8.
            count: Which of the episode it is: grain differs from picture to picture.

        One of: grain of 6 s / 255; a Gaussian blur of 0.3 % s of the height; a smear of 1.2 % s of
        it in a seeded direction; fog, a mix with 12 % s of light grey.
        """
        if self.axis != 'noise' or not self.severity:
            return image
        rng, size = self._rng(), self.severity
        kind = str(rng.choice(NOISES))
        if kind == 'grain':
            grains = np.random.default_rng([self.seed, count]).normal(size=image.shape)
            return _bytes(image + size * GRAIN * grains)
        if kind == 'blur':
            return np.asarray(cv2.GaussianBlur(image, (0, 0), size * BLUR * len(image)), np.uint8)
        if kind == 'smear':
            return _smeared(image, size * SMEAR * len(image), rng.uniform(0.0, np.pi))
        return _bytes((1.0 - size * FOG) * image.astype(float) + size * FOG * 200.0)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 7, AXES.index(self.axis)])

    def _littered(self, layout: Layout) -> Layout:
        """Put as many eggs as the severity where they leave room to grasp."""
        rng = self._rng()
        eggs: list[tuple[float, float, float]] = []
        taken = [o.position for o in layout.objects] + [layout.plate]
        for _ in range(1000):
            if len(eggs) == self.severity:
                break
            x, y = (float(v) for v in rng.uniform((0.32, -0.28), (0.68, 0.28)))
            yaw = float(rng.uniform(-np.pi, np.pi))
            if np.linalg.norm(np.array(taken) - (x, y), axis=1).min() >= 0.10:
                eggs.append((x, y, yaw))
                taken.append((x, y))
        return replace(layout, eggs=tuple(eggs))


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    return _triple(rng.uniform(0.2, 0.8) + rng.uniform(-0.12, 0.12, 3))


def _triple(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _smeared(image: Image, length: float, angle: float) -> Image:
    """Average a picture along a line of this length [px] at this angle [rad].

    Every point of the line is shared among the four pixels about it, so that a line shorter than a
    pixel blurs as well.
    """
    count = 2 * int(np.ceil(length)) + 1
    kernel = np.zeros((count, count), np.float32)
    pixels = np.arange(count) - count // 2
    for along in np.linspace(-length / 2.0, length / 2.0, 4 * count):
        across = np.clip(1.0 - abs(pixels - along * np.cos(angle)), 0.0, None)
        down = np.clip(1.0 - abs(pixels - along * np.sin(angle)), 0.0, None)
        kernel += np.outer(down, across)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _bytes(image: Array) -> Image:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
