"""Stage 1: the vision tower learns to say, patch by patch, what stands there and where.

A patch that holds the projected centre of an object must tell its colour, its shape and its
position: in the base frame for the scene camera, relative to the tool for the wrist camera.
The tower is frozen afterwards, so that the policy trains on cached features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional

from vla_ros.sim.layout import COLOURS, SHAPES
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode
from vla_ros.training.demos import CAMERAS, Frames, IMAGE_SIZE
from vla_ros.types import Array

PATCH = 16  # [px]
GRID = IMAGE_SIZE // PATCH
NOTHING = len(COLOURS) + 1  # class of an empty patch; len(COLOURS) is the plate
SCALE = 0.2  # [m] a position of 1
ORIGIN = np.array([0.5, 0.0, 0.05])  # [m] base frame, subtracted for the scene camera
OUTSIDE = 8.0  # [px] beyond the border, still assigned to the patch at the border


class Cameras:
    """Projects points into both pictures; the hand keeps its orientation in every task."""

    def __init__(self, env: Tabletop) -> None:
        env.reset(sample_episode('reach', 0))
        tool = env.world.tool_pose()[1]
        self._poses = {name: env.world.camera_pose(name) for name in CAMERAS}
        self._matrices = {
            name: env.world.camera_matrix(name, IMAGE_SIZE, IMAGE_SIZE) for name in CAMERAS
        }
        self._from_tool = self._poses['wrist'][1] - tool

    def project(self, camera: str, points: Array, tool: Array) -> Array:
        """Return pixels (N, P, 2) of points (N, P, 3) [m] while the tool is at (N, 3)."""
        rotation, position = self._poses[camera]
        origin = tool + self._from_tool if camera == 'wrist' else np.tile(position, (len(tool), 1))
        seen = (points - origin[:, None]) @ rotation
        depth = np.maximum(seen[..., 2:], 1e-3)
        return (seen @ self._matrices[camera].T)[..., :2] / depth


def targets(frames: Frames, cameras: Cameras) -> dict[str, Tensor]:
    """Return what each patch should say; F = frames x cameras, G = patches.

    Returns:
        'kind' (F, G) class; 'shape' (F, G) class or -1; 'place' (F, G, 3) [SCALE].
    """
    count = len(frames)
    plate = np.concatenate([frames.plate, np.full((count, 1), 0.003)], axis=1)
    points = np.concatenate([frames.objects, plate[:, None]], axis=1)  # (N, 4, 3)
    kinds = np.concatenate([frames.colours, np.full((count, 1), len(COLOURS))], axis=1)
    kind = np.full((count, len(CAMERAS), GRID * GRID), NOTHING)
    shape = np.full(kind.shape, -1)
    place = np.zeros((*kind.shape, 3), dtype=np.float32)
    rows = np.arange(count)
    for c, camera in enumerate(CAMERAS):
        pixels = cameras.project(camera, points, frames.tool)
        origin = frames.tool[:, None] if camera == 'wrist' else ORIGIN
        relative = (points - origin) / SCALE
        for i in (len(SHAPES), *range(len(SHAPES))):  # objects overwrite the plate beneath
            u, v = pixels[:, i].T
            low, high = -OUTSIDE, IMAGE_SIZE + OUTSIDE
            seen = (u > low) & (u < high) & (v > low) & (v < high)
            column = np.clip(u // PATCH, 0, GRID - 1).astype(int)
            row = np.clip(v // PATCH, 0, GRID - 1).astype(int)
            at = (rows[seen], c, (row * GRID + column)[seen])
            kind[at] = kinds[seen, i]
            shape[at] = i if i < len(SHAPES) else -1
            place[at] = relative[seen, i]
    return {
        'kind': torch.from_numpy(kind).flatten(0, 1),
        'shape': torch.from_numpy(shape).flatten(0, 1),
        'place': torch.from_numpy(place).flatten(0, 1),
    }


class PatchReader(nn.Module):
    """The vision tower with one linear head that reads every patch."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(width, NOTHING + 1 + len(SHAPES) + 2 * 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pictures (F, 3, S, S) to readings (F, G, outputs)."""
        return self.head(self.tower(pixels).last_hidden_state)


def reader_loss(
    network: nn.Module, batch: tuple[Tensor, Tensor, dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return cross-entropies of kind and shape and the Huber loss of the place.

    Args:
        network: A PatchReader, possibly compiled.
        batch: From `batches`.
    """
    pixels, camera, target = batch
    reading = network(pixels)
    kinds, shapes, places = reading.split((NOTHING + 1, len(SHAPES), 6), dim=-1)
    present = target['kind'] != NOTHING
    weight = reading.new_ones(NOTHING + 1)
    weight[NOTHING] = 0.2  # most patches are empty
    own = places.unflatten(-1, (2, 3))[torch.arange(len(camera), device=camera.device), :, camera]
    solid = target['shape'] >= 0
    return {
        'kind': functional.cross_entropy(kinds.flatten(0, 1), target['kind'].flatten(), weight),
        'shape': functional.cross_entropy(shapes[solid], target['shape'][solid]),
        'place': 5.0
        * functional.smooth_l1_loss(own[present], target['place'][present], beta=0.05),
    }


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary light, colour balance and noise of uint8 pictures (F, S, S, 3); returns [-1, 1]."""
    count = len(images)
    gain = rng.normal(1.0, 0.08, (count, 1, 1, 1)) * rng.normal(1.0, 0.03, (count, 1, 1, 3))
    bias = rng.normal(0.0, 0.03, (count, 1, 1, 1))
    noise = rng.standard_normal(images.shape, dtype=np.float32) * 0.015
    bright = images.astype(np.float32) / 255.0
    bright = bright * gain.astype(np.float32) + bias.astype(np.float32) + noise
    return np.clip(bright, 0.0, 1.0) * 2.0 - 1.0


def batches(
    frames: Frames, labels: dict[str, Tensor], size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """Yield (pixels, camera index, targets) without end."""
    images = frames.images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
    while True:
        index = np.sort(rng.integers(len(images), size=size))
        pixels = torch.from_numpy(augment(images[index], rng)).permute(0, 3, 1, 2).contiguous()
        chosen = torch.from_numpy(index)
        yield pixels, chosen % len(CAMERAS), {k: v[chosen] for k, v in labels.items()}
