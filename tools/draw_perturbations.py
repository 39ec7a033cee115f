"""Draws docs/images/perturbed.png: one episode on each axis at each severity.

python tools/draw_perturbations.py docs/images/perturbed.png
"""

from __future__ import annotations

from pathlib import Path
import sys

import cv2
import numpy as np

from vla_ros import paths
from vla_ros.evaluation.suite import load_suite
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import load_robot
from vla_ros.sim.dressing import Dressing
from vla_ros.sim.perturbation import AXES, MOST, Perturbation
from vla_ros.sim.tabletop import Tabletop
from vla_ros.types import Image

SIZE = 92  # [px] of a picture
LABEL = 16  # [px] above each row
PICTURE_AXES = tuple(axis for axis in AXES if axis != 'language')
EPISODE = 3  # of the suite with seed 0
SEED = 4  # of the perturbations: what it draws shows well
NOISE_SEED = 2  # grain makes a large file


def strip(text: str, width: int) -> Image:
    """Return a line of text (LABEL, width, 3)."""
    line = np.full((LABEL, width, 3), 255, np.uint8)
    cv2.putText(line, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (40, 40, 40), 1, cv2.LINE_AA)
    return line


def main(path: Path) -> None:
    """Draw a row for each axis, scene and wrist camera side by side, and the sentences below."""
    robot = load_robot(paths.find('robots', 'panda'))
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    home = np.array(robot.home)
    rotation, tool = kinematics.fk(home)
    solver = InverseKinematics(
        kinematics, lower=robot.limits('lower'), upper=robot.limits('upper'), posture=home
    )
    table = Tabletop(robot, robot.urdf_path, eggs=MOST)
    dressing = Dressing(table.world)
    episode = load_suite('perturbed').episodes(EPISODE + 1, 0)[EPISODE]
    width = 2 * SIZE * (MOST + 1)
    rows = []
    for axis in PICTURE_AXES:
        pictures = []
        for severity in range(MOST + 1):
            how = Perturbation(axis, severity, NOISE_SEED if axis == 'noise' else SEED)
            dressing.wear(how)
            table.reset(how.episode(episode), solver.solve(home, rotation, how.start(tool)).q)
            for count, camera in enumerate(robot.cameras):
                pictures.append(how.picture(table.square(camera.name, SIZE), count))
        rows += [strip(f'{axis}: severity 0 to {MOST}', width), np.hstack(pictures)]
    rows.append(strip('language:', width))
    for severity in range(MOST + 1):
        said = Perturbation('language', severity, SEED).episode(episode).instruction
        rows.append(strip(f'{severity}  {said}', width))
    table.world.close()
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == '__main__':
    main(Path(sys.argv[1]))
