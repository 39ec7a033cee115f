"""What stage 1 is taught: projections against MuJoCo's pictures, patches against both."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.robot import load_robot
from vla_ros.sim.layout import COLOURS, SHAPES
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode
from vla_ros.training import vision
from vla_ros.training.demos import CAMERAS, EXPERT_SPEC, Frames, IMAGE_SIZE
from vla_ros.types import ActionChunk, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
TOOLS = [(0.45, 0.0, 0.30), (0.40, -0.2, 0.15), (0.62, 0.18, 0.12), (0.5, 0.1, 0.25)]
FINE = 5  # the picture of the oracle is so much larger than the policy's


@pytest.fixture(scope='module')
def table():
    table = Tabletop(ROBOT, URDF)
    yield table
    table.world.close()


@pytest.fixture(scope='module')
def cameras(table) -> vision.Cameras:
    return vision.Cameras(table)


@pytest.fixture(scope='module')
def draw(table):
    """Return a function (camera) -> body of every pixel, of the objects alone."""
    model = table.world.model
    size = IMAGE_SIZE * FINE
    renderer = mujoco.Renderer(model, size, size)
    renderer.enable_segmentation_rendering()
    option = mujoco.MjvOption()
    option.geomgroup[1:] = 0  # the robot hides nothing

    def segment(camera: str) -> np.ndarray:
        renderer.update_scene(table.world.data, camera, option)
        geoms = renderer.render()[..., 0]
        return np.where(geoms >= 0, model.geom_bodyid[geoms], -1)

    yield segment
    renderer.close()


def bring(table, tool, seed=0) -> np.ndarray:
    """Lay a table with the tool at a place; return where the tool is."""
    home = JointState(0.0, [*ROBOT.home, ROBOT.gripper.open], np.zeros(ROBOT.dof + 1))
    codec = Codec(ROBOT, URDF, EXPERT_SPEC)
    goal = codec.decode(ActionChunk(0.0, [[*tool, 1.0]], 0.1), home)
    table.reset(sample_episode('place', seed), goal.positions[0, :-1])
    return table.world.tool_pose()[1]


def centroid(bodies: np.ndarray, body: int) -> np.ndarray | None:
    """Return the middle (u, v) [px of the policy's picture] of a body that is seen whole."""
    rows, columns = np.nonzero(bodies == body)
    last = len(bodies) - 1
    if len(rows) < 50 or rows.min() == 0 or columns.min() == 0:
        return None
    if rows.max() == last or columns.max() == last:
        return None
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / FINE


@pytest.mark.parametrize('camera', CAMERAS)
def test_projected_centres_are_where_mujoco_draws_them(table, cameras, draw, camera):
    ball = table.world.model.body('ball').id
    compared, rng = 0, np.random.default_rng(1)
    for tool in TOOLS:
        at = bring(table, tool)
        for point in rng.uniform((0.35, -0.25, 0.0), (0.65, 0.25, 0.06), (8, 3)):
            for name in ('cube', 'cylinder', 'plate'):
                table.world.set_object_pose(name, (5.0, 5.0, 0.0))
            table.world.set_object_pose('ball', point)
            seen = centroid(draw(camera), ball)
            if seen is None:
                continue
            pixel = cameras.project(camera, point[None, None], at[None])[0, 0]
            assert np.abs(pixel - seen).max() < 0.7, (tool, point)
            compared += 1
    assert compared >= 8


@pytest.mark.parametrize('camera', CAMERAS)
def test_every_object_of_an_episode_is_where_it_is_expected(table, cameras, draw, camera):
    compared = 0
    for seed, tool in enumerate(2 * TOOLS):
        at = bring(table, tool, seed)
        points = table.state().objects
        pixels = cameras.project(camera, points[None], at[None])[0]
        bodies = draw(camera)
        for pixel, shape in zip(pixels, SHAPES):
            seen = centroid(bodies, table.world.model.body(shape).id)
            if seen is not None:
                # Height gives a silhouette another middle than the centre, so near a camera.
                assert np.abs(pixel - seen).max() < (1.5 if camera == 'scene' else 4.0)
                compared += 1
    assert compared >= 4


def frames_of(table, tools) -> Frames:
    states, layouts = [], []
    for seed, tool in enumerate(tools):
        bring(table, tool, seed)
        states.append(table.state())
        layouts.append(table.episode.layout)
    count = len(states)
    colours = [[COLOURS.index(o.colour) for o in layout.objects] for layout in layouts]
    zeros = np.zeros(count, np.int8)
    return Frames(
        images=np.zeros((count, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        tool=np.array([s.tool for s in states]),
        opening=np.ones(count),
        objects=np.array([s.objects for s in states]),
        plate=np.array([s.plate for s in states]),
        colours=np.array(colours, np.int8),
        task=zeros, target=zeros, direction=zeros,
    )  # fmt: skip


def test_a_patch_tells_what_its_pixels_show(table, cameras):
    frames = frames_of(table, TOOLS)
    found = vision.targets(frames, cameras)
    grid = vision.GRID
    for name in ('kind', 'shape'):
        assert found[name].shape == (len(frames) * len(CAMERAS), grid * grid)
    scene = 0
    for n in range(len(frames)):
        row = n * len(CAMERAS) + scene
        pixels = cameras.project('scene', frames.objects[n][None], frames.tool[n][None])[0]
        for i, (u, v) in enumerate(pixels):
            patch = int(v) // vision.PATCH * grid + int(u) // vision.PATCH
            assert found['shape'][row, patch] in range(len(SHAPES))
            if found['shape'][row, patch] == i:  # no other object shares the patch
                assert found['kind'][row, patch] == frames.colours[n, i]
                place = found['place'][row, patch].numpy() * vision.SCALE + vision.ORIGIN
                np.testing.assert_allclose(place, frames.objects[n, i], atol=1e-6)
        present = found['kind'][row] != vision.NOTHING
        assert 2 <= int(present.sum()) <= len(SHAPES) + 1
        assert (found['shape'][row][~present] == -1).all()


def test_places_seen_by_the_wrist_are_relative_to_the_tool(table, cameras):
    frames = frames_of(table, TOOLS)
    found = vision.targets(frames, cameras)
    told = 0
    for n in range(len(frames)):
        row = n * len(CAMERAS) + CAMERAS.index('wrist')
        for patch in np.flatnonzero(found['shape'][row].numpy() >= 0):
            i = int(found['shape'][row, patch])
            place = found['place'][row, patch].numpy() * vision.SCALE + frames.tool[n]
            np.testing.assert_allclose(place, frames.objects[n, i], atol=1e-6)
            told += 1
    assert told >= 3


def test_the_loss_is_small_for_the_truth_and_large_for_another(table, cameras):
    frames = frames_of(table, TOOLS)
    target = vision.targets(frames, cameras)
    camera = torch.arange(len(frames) * len(CAMERAS)) % len(CAMERAS)
    kinds = torch.nn.functional.one_hot(target['kind'], vision.NOTHING + 1) * 30.0
    shapes = torch.nn.functional.one_hot(target['shape'].clamp(min=0), len(SHAPES)) * 30.0
    unread = torch.full_like(target['place'], 9.0)
    own = (camera == 0)[:, None, None]
    places = torch.cat(
        (target['place'].where(own, unread), target['place'].where(~own, unread)), -1
    )  # each camera has three outputs of its own; the others' are not read

    def losses(kinds, shapes, places):
        reading = torch.cat((kinds, shapes, places), -1)
        return vision.reader_loss(lambda pixels: reading, (torch.empty(0), camera, target))

    assert all(value < 1e-6 for value in losses(kinds, shapes, places).values())
    wrong = losses(kinds.roll(1, -1), shapes.roll(1, -1), places + 0.5)
    assert all(value > 0.1 for value in wrong.values())


def test_augmentation_keeps_the_range_and_the_picture():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    varied = vision.augment(images, rng)
    assert varied.dtype == np.float32
    assert varied.min() >= -1.0
    assert varied.max() <= 1.0
    plain = images.astype(float) / 127.5 - 1.0
    assert abs((varied - plain).mean()) < 0.05
    assert np.corrcoef(varied.ravel(), plain.ravel())[0, 1] > 0.95
    assert np.abs(varied - plain).mean() > 0.02


def test_batches_keep_pictures_cameras_and_targets_together(monkeypatch):
    count = 5
    images = np.zeros((count, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for n in range(count):
        for c in range(len(CAMERAS)):
            images[n, c] = 10 * (n * len(CAMERAS) + c)
    blank = np.zeros(count)
    frames = Frames(images, *([blank] * 8))
    labels = {'kind': torch.arange(count * len(CAMERAS))}
    monkeypatch.setattr(vision, 'augment', lambda x, rng: x.astype(np.float32))
    source = vision.batches(replace(frames, tool=blank), labels, 16, np.random.default_rng(0))
    pixels, camera, target = next(source)
    assert pixels.shape == (16, 3, IMAGE_SIZE, IMAGE_SIZE)
    flat = pixels[:, 0, 0, 0].long() // 10
    assert (flat == target['kind']).all()
    assert (flat % len(CAMERAS) == camera).all()
    assert len(set(flat.tolist())) > 5
