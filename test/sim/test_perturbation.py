"""Perturbations: nothing at severity 0, one thing alone on each axis, of the size that is told."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import load_robot
from vla_ros.sim.layout import AREA, push_is_clear
from vla_ros.sim.perturbation import AXES, Look, MOST, Perturbation
from vla_ros.sim.rewording import spoken
from vla_ros.sim.tasks import sample_episode, TASKS

ROBOT = load_robot(paths.find('robots', 'panda'))
SCENE, WRIST = ROBOT.camera('scene'), ROBOT.camera('wrist')
HOME = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame).fk(np.array(ROBOT.home))[1]
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)

axes, seeds = st.sampled_from(AXES), st.integers(0, 2**31)
severities, tasks = st.integers(1, MOST), st.sampled_from(sorted(TASKS))


def all_of(one: Perturbation, task: str = 'reach') -> dict[str, object]:
    """Return everything that a perturbation says, by the axis that it belongs to."""
    episode = one.episode(sample_episode(task, 5))
    look = one.look()
    return {
        'layout': episode.layout,
        'language': episode.instruction,
        'camera': (one.camera(SCENE, False), one.camera(WRIST, True)),
        'start': one.start(HOME).tolist(),
        'light': replace(look, paint=0.0, table=Look().table, floor=Look().floor),
        'background': (look.paint, look.table, look.floor),
        'noise': one.picture(PICTURE, 3).tobytes(),
    }


@given(axes, severities, seeds, tasks)
@example('noise', 1, 2755, 'pick')  # a smear that is shorter than a pixel
def test_each_axis_changes_its_own_alone_and_repeats(
    axis: str, severity: int, seed: int, task: str
) -> None:
    still = all_of(Perturbation('start', 0, seed), task)
    found = all_of(Perturbation(axis, severity, seed), task)
    assert found == all_of(Perturbation(axis, severity, seed), task)
    assert {key for key in AXES if found[key] != still[key]} == {axis}


@given(axes, seeds)
def test_severity_0_changes_nothing(axis: str, seed: int) -> None:
    episode = sample_episode('push', 5)
    none = Perturbation(axis, 0, seed)
    assert none.episode(episode) == episode
    assert none.look() == Look()
    assert none.picture(PICTURE, 0) is PICTURE
    assert (none.start(HOME) == HOME).all()
    for camera, carried in ((SCENE, False), (WRIST, True)):
        assert none.camera(camera, carried).position == pytest.approx(camera.position)
        assert none.camera(camera, carried).look_at == pytest.approx(camera.look_at)


@given(severities, seeds)
def test_a_standing_camera_moves_on_a_sphere(severity: int, seed: int) -> None:
    moved = Perturbation('camera', severity, seed).camera(SCENE, False)
    target = np.array(SCENE.look_at)
    assert moved.look_at == SCENE.look_at
    before, after = np.array(SCENE.position) - target, np.array(moved.position) - target
    ratio = np.linalg.norm(after) / np.linalg.norm(before)
    assert abs(ratio - 1.0) == pytest.approx(0.03 * severity)
    azimuth = [np.arctan2(seat[1], seat[0]) for seat in (before, after)]
    assert abs(np.degrees(azimuth[1] - azimuth[0])) == pytest.approx(2.0 * severity)
    height = [np.arcsin(seat[2] / np.linalg.norm(seat)) for seat in (before, after)]
    assert abs(np.degrees(height[1] - height[0])) == pytest.approx(1.5 * severity)


@given(severities, seeds)
def test_a_carried_camera_turns_in_its_seat(severity: int, seed: int) -> None:
    moved = Perturbation('camera', severity, seed).camera(WRIST, True)
    assert moved.position == WRIST.position
    rays = [np.subtract(c.look_at, c.position) for c in (WRIST, moved)]
    lengths = [np.linalg.norm(ray) for ray in rays]
    assert lengths[1] == pytest.approx(lengths[0])
    angle = np.degrees(np.arccos(rays[0] @ rays[1] / lengths[0] / lengths[1]))
    assert 1.5 * severity - 1e-6 <= angle <= 2.5 * severity + 1e-6  # sqrt(1.5^2 + 2^2) at most


@given(severities, seeds, tasks)
def test_a_layout_spreads_and_is_littered(severity: int, seed: int, task: str) -> None:
    episode = sample_episode(task, seed)
    found = Perturbation('layout', severity, seed).episode(episode)
    before = np.array([o.position for o in episode.layout.objects] + [episode.layout.plate])
    after = np.array([o.position for o in found.layout.objects] + [found.layout.plate])
    middle = AREA.mean(axis=1)
    outward = np.linalg.norm(after - middle, axis=1) - np.linalg.norm(before - middle, axis=1)
    if task == 'push':
        assert push_is_clear(found.layout, found.target, np.array(found.direction))
    else:
        assert outward == pytest.approx(0.01 * severity)
    assert 1 <= len(found.layout.eggs) <= severity
    for index, egg in enumerate(found.layout.eggs):
        others = [*after, *(e[:2] for e in found.layout.eggs[:index])]
        assert np.linalg.norm(np.array(others) - egg[:2], axis=1).min() >= 0.10


def test_every_start_is_within_reach() -> None:
    kinematics = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    home = np.array(ROBOT.home)
    limits = {'lower': ROBOT.limits('lower'), 'upper': ROBOT.limits('upper')}
    solver = InverseKinematics(kinematics, posture=home, **limits)
    rotation = kinematics.fk(home)[0]
    for seed in range(60):
        tool = Perturbation('start', MOST, seed).start(HOME)
        assert np.linalg.norm((tool - HOME)[:2]) == pytest.approx(0.15)
        assert abs(tool[2] - HOME[2]) <= 0.05
        assert solver.solve(home, rotation, tool).converged


@given(seeds)
def test_noise_has_the_size_that_is_told(seed: int) -> None:
    one = Perturbation('noise', 4, seed)
    grey = np.full((96, 96, 3), 120, np.uint8)
    found = one.picture(grey, 0).astype(float)
    fog = 0.52 * 120 + 0.48 * 200
    if found.std() > 0.0:  # grain
        assert found.mean() == pytest.approx(120.0, abs=1.0)
        assert found.std() == pytest.approx(24.0, rel=0.05)
        assert (one.picture(grey, 1) != one.picture(grey, 0)).any()
    else:
        assert found[0, 0, 0] in (120.0, round(fog))
        edge = grey.copy()
        edge[:, 48:] = 20
        blurred = one.picture(edge, 0)
        if found[0, 0, 0] == 120.0:  # a blur or a smear keeps the mean
            assert blurred.mean() == pytest.approx(edge.mean(), abs=1.5)


@given(severities, seeds, tasks)
def test_other_words_ask_for_the_same(severity: int, seed: int, task: str) -> None:
    episode = sample_episode(task, seed)
    said = Perturbation('language', severity, seed).episode(episode).instruction
    own, words = spoken(episode), said.split()
    if severity <= 4:
        assert own['object'] in said
    elif episode.layout.objects[episode.target].colour in own['object'].split():
        assert episode.layout.objects[episode.target].colour in words
    if task == 'push':
        assert own['direction'] in words
    begins = tuple(phrase.split('{')[0] for phrase in TASKS[task].phrases)
    assert not said.startswith(begins)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'camera'"):
        Perturbation('camra', 1, 0)
    with pytest.raises(ConfigError, match='expected 0 to 5'):
        Perturbation('camera', 6, 0)
