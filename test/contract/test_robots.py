"""What holds of every robot file: it fits its URDF, its capsules hold, home is clear."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import coal
import numpy as np
import pinocchio as pin
import pytest
import yaml

from vla_ros import paths
from vla_ros.actions import Plan
from vla_ros.kinematics import Kinematics
from vla_ros.kinematics.enclosure import Fit, sticks_out
from vla_ros.kinematics.solids import joined, Solid, solid_of
from vla_ros.robot import Capsule, load_robot, RobotSpec
from vla_ros.safety import load_safety, SafetyFilter
from vla_ros.safety import World as Obstacles
from vla_ros.sim.world import World
from vla_ros.types import JointState, Trajectory

FILES = sorted(p.stem for p in (paths.share() / 'config' / 'robots').glob('*.yaml'))
SAID = {name: yaml.safe_load(paths.find('robots', name).read_text('utf-8')) for name in FILES}
OWN = [name for name in FILES if not {'extends', 'arms'} & SAID[name].keys()]  # from no other file
MARGIN = 0.005  # [m] the filter's margin_self
DT = 0.005  # [s]

every_robot = pytest.mark.parametrize('name', OWN)


@dataclass(frozen=True)
class Model:
    """A robot file beside its whole URDF, the joints of the gripper included."""

    spec: RobotSpec
    pin: pin.Model
    data: pin.Data
    shapes: pin.GeometryModel
    follows: dict[str, float]  # joint of the gripper -> its angle or way for 1 of the driven one

    def place(self, arm: np.ndarray, gripper: float) -> None:
        """Put every frame where it is for arm joints (n,) [rad] and the gripper's joint."""
        q = pin.neutral(self.pin)
        for joint, value in zip(self.spec.arm_joints, arm):
            q[self.pin.joints[self.pin.getJointId(joint)].idx_q] = value
        for joint, ratio in self.follows.items():
            q[self.pin.joints[self.pin.getJointId(joint)].idx_q] = ratio * gripper
        pin.framesForwardKinematics(self.pin, self.data, q)

    def pose(self, link: str) -> pin.SE3:
        return self.data.oMf[self.pin.getFrameId(link)]

    def carrier(self, joint: int) -> int:
        """Return how many arm joints carry what a joint of the URDF moves."""
        while joint and self.pin.names[joint] not in self.spec.arm_joints:
            joint = self.pin.parents[joint]
        return self.spec.arm_joints.index(self.pin.names[joint]) + 1 if joint else 0

    def carried(self, link: str) -> int:
        return self.carrier(self.pin.frames[self.pin.getFrameId(link)].parentJoint)

    def shape_of(self, capsule: Capsule) -> tuple[coal.Capsule, coal.Transform3s]:
        a, b = np.array(capsule.a), np.array(capsule.b)
        up = np.array([0.0, 0.0, 1.0])
        turn = pin.Quaternion.FromTwoVectors(up, b - a).matrix() if (a != b).any() else np.eye(3)
        pose = self.pose(capsule.link) * pin.SE3(turn, 0.5 * (a + b))
        shape = coal.Capsule(capsule.radius, float(np.linalg.norm(b - a)))
        return shape, coal.Transform3s(pose.rotation, pose.translation)

    def distance(self, first: Capsule, second: Capsule) -> float:
        """Return the distance [m] of two capsules where they are now, by coal."""
        return _distance(*self.shape_of(first), *self.shape_of(second))

    def bearer(self, shape: pin.GeometryObject) -> str:
        """Return the link whose capsules answer for a shape: its own, or the nearest before it."""
        links, index = {c.link for c in self.spec.capsules}, shape.parentFrame
        while index and self.pin.frames[index].name not in links:
            index = self.pin.frames[index].parentFrame
        return self.pin.frames[index].name

    def solid_distance(self, first: str, second: str) -> float:
        """Return the distance [m] of the URDF's own solids for which two links answer."""
        sides: list[list[tuple]] = [[], []]
        for shape in self.shapes.geometryObjects:
            pose, bearer = self.data.oMi[shape.parentJoint] * shape.placement, self.bearer(shape)
            for side, link in zip(sides, (first, second)):
                if bearer == link:
                    where = coal.Transform3s(pose.rotation, pose.translation)
                    side.append((shape.geometry, where))
        return min(_distance(*x, *y) for x in sides[0] for y in sides[1])

    def samples(self, count: int, seed: int) -> np.ndarray:
        rng, robot = np.random.default_rng(seed), self.spec
        return rng.uniform(robot.limits('lower'), robot.limits('upper'), (count, robot.dof))


def _distance(first, at_first, second, at_second) -> float:
    request, result = coal.DistanceRequest(), coal.DistanceResult()
    return coal.distance(first, at_first, second, at_second, request, result)


@cache
def model_of(name: str) -> Model:
    spec = load_robot(paths.find('robots', name))
    urdf = str(spec.urdf_path)
    model = pin.buildModelFromUrdf(urdf)
    shapes = pin.buildGeomFromUrdf(model, urdf, pin.GeometryType.COLLISION)
    # MuJoCo reads what follows what; Pinocchio as built here takes such joints for free ones.
    simulated = World(spec, spec.urdf_path, objects=()).model
    follows = {spec.gripper.joint: 1.0}
    for follower, leader, ratios in zip(
        simulated.eq_obj1id, simulated.eq_obj2id, simulated.eq_data
    ):
        assert simulated.joint(leader).name == spec.gripper.joint and ratios[0] == 0.0
        follows[simulated.joint(follower).name] = float(ratios[1])
    return Model(spec, model, model.createData(), shapes, follows)


@pytest.mark.parametrize('name', FILES)
def test_a_robot_file_is_named_as_itself_and_its_urdf_is_there(name):
    robot = load_robot(paths.find('robots', name))
    assert robot.name == name
    assert robot.urdf_path.exists()
    wrists = {f'{arm.name}_wrist'.lstrip('_') for arm in robot.arms}
    assert {camera.name for camera in robot.cameras} == {'scene', *wrists}


@every_robot
def test_planning_limits_are_inside_those_of_the_urdf(name):
    robot = model_of(name).spec
    arm = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    assert (robot.limits('lower') > arm.lower).all()
    assert (robot.limits('upper') < arm.upper).all()
    assert (robot.limits('velocity') < arm.model.velocityLimit).all()
    for joint in robot.joints:
        for c, k, end in joint.velocity_law:
            inside = k == 0.0 or k * min(abs(joint.upper - end), abs(joint.lower - end)) > c * c
            assert inside, f'{joint.name} may not move at the end of its range'


@every_robot
def test_the_gripper_stays_inside_its_joint(name):
    model, gripper = model_of(name), model_of(name).spec.gripper
    joint = model.pin.joints[model.pin.getJointId(gripper.joint)]
    low = model.pin.lowerPositionLimit[joint.idx_q]
    high = model.pin.upperPositionLimit[joint.idx_q]
    assert low <= min(gripper.closed, gripper.open) < max(gripper.closed, gripper.open) <= high
    assert gripper.velocity <= model.pin.velocityLimit[joint.idx_v]


@every_robot
def test_home_is_above_the_table_pointing_down_and_clear(name):
    model, robot = model_of(name), model_of(name).spec
    home = np.array(robot.home)
    assert (home > robot.limits('lower')).all() and (home < robot.limits('upper')).all()
    model.place(home, robot.gripper.open)
    tool = model.pose(robot.tool_frame)
    assert tool.translation[0] > 0.15 and abs(tool.translation[1]) < 1e-3
    assert tool.translation[2] > 0.05
    assert tool.rotation[2, 2] < -0.999
    ignored = {frozenset(pair) for pair in robot.ignored_pairs}
    for a, b in combinations(robot.capsules, 2):
        if frozenset((a.name, b.name)) not in ignored:
            assert model.distance(a, b) > MARGIN, (a.name, b.name)
    for capsule in robot.capsules:
        if capsule.name not in robot.floor_exempt:
            ends = [
                model.pose(capsule.link).act(np.array(end))[2] for end in (capsule.a, capsule.b)
            ]
            assert min(ends) - capsule.radius > robot.floor_height + 0.01, capsule.name


@every_robot
def test_capsules_enclose_the_collision_shapes_at_every_opening(name):
    """Those of a link, or of a finger by what carries it, proven by halving triangles."""
    model, robot = model_of(name), model_of(name).spec
    assert len(model.shapes.geometryObjects) >= 12
    for opening in np.linspace(robot.gripper.closed, robot.gripper.open, 7):
        model.place(np.array(robot.home), float(opening))
        for shape in model.shapes.geometryObjects:
            moved = model.carrier(shape.parentJoint)
            own = [c for c in robot.capsules if model.carried(c.link) == moved]
            world = model.data.oMi[shape.parentJoint] * shape.placement
            solid = joined([solid_of(shape.geometry).moved(world.rotation, world.translation)])
            assert sticks_out(Solid(*solid), [_fit(model, c) for c in own]) <= 1e-9, shape.name


def _fit(model: Model, capsule: Capsule) -> Fit:
    pose = model.pose(capsule.link)
    return Fit(pose.act(np.array(capsule.a)), pose.act(np.array(capsule.b)), capsule.radius)


@every_robot
def test_what_is_never_checked_cannot_touch(name):
    """Neighbours aside: capsules that stay apart, or bodies that do although capsules meet."""
    model, robot = model_of(name), model_of(name).spec
    capsules = {c.name: c for c in robot.capsules}
    far = [
        (capsules[a], capsules[b])
        for a, b in robot.ignored_pairs
        if abs(model.carried(capsules[a].link) - model.carried(capsules[b].link)) > 1
    ]
    for arm in model.samples(150, seed=2):
        model.place(arm, robot.gripper.open)
        for a, b in far:
            if model.distance(a, b) <= 0.0:
                assert model.solid_distance(a.link, b.link) > 0.0, (a.name, b.name)


@every_robot
def test_every_inertia_is_physically_possible(name):
    for inertia in list(model_of(name).pin.inertias)[1:]:
        principal = np.linalg.eigvalsh(inertia.inertia)
        assert inertia.mass > 0.0
        assert principal[0] > 0.0
        assert principal[0] + principal[1] >= principal[2] * (1.0 - 1e-3)


@every_robot
def test_the_gripper_opens_and_closes_in_simulation(name):
    """A pair of fingers moves as one, whichever way the joint closes."""
    model, robot = model_of(name), model_of(name).spec
    world, home = World(robot, robot.urdf_path, objects=()), np.array(robot.home)
    for target in (robot.gripper.closed, robot.gripper.open):
        world.set_command(home, target)
        world.step(abs(robot.gripper.open - robot.gripper.closed) / robot.gripper.velocity + 0.3)
        stroke = abs(robot.gripper.open - robot.gripper.closed)
        assert abs(world.joint_state().position[-1] - target) < 0.03 * stroke
        for joint, ratio in model.follows.items():
            there = float(world.data.joint(joint).qpos[0])
            assert abs(there - ratio * target) < 0.05 * stroke, joint
    assert np.abs(world.joint_state().position[:-1] - home).max() < 0.01


@every_robot
def test_the_simulated_arm_follows_a_plan_through_the_filter(name):
    """Every joint swings out and back within 2 s, the gripper closes: no fault, no violation."""
    robot = load_robot(paths.find('robots', name))
    guard = SafetyFilter(robot, load_safety(paths.find('safety', 'default')))
    world = World(robot, robot.urdf_path, objects=())
    ends = np.array([robot.gripper.open, robot.gripper.closed])
    start = np.append(robot.home, ends[0])
    now = 100.0
    plan = Plan(len(robot.joint_names), accel=robot.limits('acceleration'))
    plan.reset(now - DT)
    guard.reset(start)
    reach = np.minimum(0.15, 0.15 * robot.limits('velocity'))  # [rad]
    swing = np.append(reach * np.where(np.arange(robot.dof) % 2, -1.0, 1.0), ends[1] - ends[0])

    def send() -> None:
        times = np.arange(1, 61) * 0.02
        phase = np.pi * np.minimum(plan.clock.phi + times, 2.0)[:, None]
        points = start + (0.5 - 0.5 * np.cos(phase)) * swing
        speeds = 0.5 * np.pi * np.sin(phase) * swing
        assert plan.accept(Trajectory(now, times, points, speeds), now).ok

    worst, farthest, held = 0.0, 0.0, []
    for tick in range(round(2.3 / DT)):
        if tick % 80 == 0:
            send()
        now += DT
        measured = world.joint_state()
        state = JointState(now, measured.position, measured.velocity)
        result = guard.step(state, plan, Obstacles(), now, DT)
        command = result.command.positions[0]
        held.append(command[-1])
        assert (command[:-1] >= robot.limits('lower')).all()
        assert (command[:-1] <= robot.limits('upper')).all()
        assert result.min_barrier > 0.0
        assert result.level <= 1, result.message
        world.set_command(command[:-1], command[-1], over=DT)
        world.step(DT)
        farthest = max(farthest, float(np.abs(command[:-1] - start[:-1]).max()))
        worst = max(worst, float(np.abs(world.joint_state().position[:-1] - command[:-1]).max()))
    assert farthest > 0.9 * reach.min()
    assert worst < 0.02
    assert np.abs(world.joint_state().position[:-1] - start[:-1]).max() < 0.01
    assert min(ends) - 1e-9 <= min(held) and max(held) <= max(ends) + 1e-9
    assert np.ptp(held) > 0.9 * np.ptp(ends)
