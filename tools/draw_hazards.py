"""Draws docs/images/hazards.png: each kind of hazard at each level, where an episode begins.

python tools/draw_hazards.py docs/images/hazards.png

A hand is drawn where it pauses.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import sys

import cv2
import numpy as np

from vla_ros import paths
from vla_ros.evaluation.rollout import Rollout
from vla_ros.evaluation.scenes import hazard_scene, Scene
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.suite import load_suite
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.tabletop import Tabletop
from vla_ros.types import Image

WIDTH, HEIGHT = 300, 240  # [px] of a picture
INDEX = 2  # of the episode: a pick


def picture(robot: RobotSpec, scene: Scene, text: str) -> Image:
    """Return a scene as somebody beside the table sees it."""
    import mujoco  # not before vla_ros.sim, which says that it draws headless

    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    home, hazard = np.array(robot.home), scene.hazard
    solver = InverseKinematics(
        kinematics, lower=robot.limits('lower'), upper=robot.limits('upper'), posture=home
    )
    assert hazard is not None and scene.start is not None
    if hazard.motion is not None:
        hazard = replace(hazard, motion=replace(hazard.motion, begin=-hazard.motion.way))
    table = Tabletop(robot, robot.urdf_path, hazard)
    table.reset(scene.episode, solver.solve(home, kinematics.fk(home)[0], scene.start).q)
    view = mujoco.MjvCamera()
    view.lookat[:], view.distance = (0.45, 0.0, 0.12), 1.25
    view.azimuth, view.elevation = 150.0, -28.0
    renderer = mujoco.Renderer(table.world.model, HEIGHT, WIDTH)
    renderer.update_scene(table.world.data, view)
    image = renderer.render().copy()
    renderer.close()
    table.world.close()
    cv2.putText(image, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)
    return image


def main(path: Path) -> None:
    """Draw a column for each kind and a row for each level."""
    robot, suite = load_robot(paths.find('robots', 'panda')), load_suite('hazards')
    guard = SafetyFilter(robot, load_safety(paths.find('safety', 'default')))
    guide = Rollout(robot, ScriptedPolicy(), guard)
    rows = []
    for level in suite.severities:
        trials = [trial for trial in suite.trials if trial.level == level]
        scenes = [hazard_scene(suite, 200, 0, INDEX, trial, guide) for trial in trials]
        rows.append(np.hstack([picture(robot, s, str(t)) for s, t in zip(scenes, trials)]))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == '__main__':
    main(Path(sys.argv[1]))
