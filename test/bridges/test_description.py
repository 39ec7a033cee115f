"""The description: the URDF as it was, and cameras that look where the robot file says."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pinocchio
import pytest

from vla_ros import paths
from vla_ros.bridges.description import angles, describe, forward, text
from vla_ros.robot import load_robot

FILES = sorted((paths.share() / 'config' / 'robots').glob('*.yaml'))


@pytest.fixture(params=FILES, ids=lambda p: p.stem)
def robot(request):
    return load_robot(request.param)


def test_the_arm_is_not_touched(robot):
    before = pinocchio.buildModelFromUrdf(str(robot.urdf_path))
    after = pinocchio.buildModelFromXML(text(describe(robot)))
    assert list(after.names) == list(before.names)
    assert after.nq == before.nq
    assert after.nframes == before.nframes + 2 * len(robot.cameras)  # a link and its joint


def test_every_camera_has_its_target_straight_ahead(robot):
    """In the optical frame the target is at (0, 0, distance), and up in the picture is -y."""
    model = pinocchio.buildModelFromXML(text(describe(robot)))
    data = model.createData()
    pinocchio.framesForwardKinematics(model, data, pinocchio.neutral(model))
    for camera in robot.cameras:
        link, optical = (
            data.oMf[model.getFrameId(name)] for name in (camera.frame, camera.optical_frame)
        )
        away = np.linalg.norm(np.subtract(camera.look_at, camera.position))
        seen = optical.actInv(link.act(np.array(camera.look_at)))
        assert np.allclose(seen, [0.0, 0.0, away], atol=1e-8)
        up = optical.rotation.T @ link.rotation @ np.array(camera.up)
        assert up[1] < 0.0 and abs(up[0]) < 1e-8


def test_angles_are_those_of_urdf(robot):
    """Fixed axes: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    for camera in robot.cameras:
        roll, pitch, yaw = angles(forward(camera))
        assert np.allclose(pinocchio.rpy.rpyToMatrix(roll, pitch, yaw), forward(camera))


def test_the_text_is_one_robot(robot):
    assert ElementTree.fromstring(text(describe(robot))).tag == 'robot'
