"""The MuJoCo model of the table-top scene, built from a robot's own URDF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.robot import Camera, RobotSpec
from vla_ros.sim.hazards import Hazard
from vla_ros.types import Array

TIMESTEP = 0.0025  # [s] half a control tick: a tick that is not whole steps shakes the arm
TABLE = 'table'  # body name; its top is z = 0
TABLE_TOP, FLOOR = 'table_top', 'floor'  # geometry names of what is seen
SEEN_FROM = 0.05  # [m] distance from which on contacts with the hazard are listed
COLOURS: dict[str, tuple[float, float, float]] = {  # RGB, 0 to 1
    'red': (0.80, 0.08, 0.08),
    'green': (0.10, 0.55, 0.15),
    'blue': (0.08, 0.22, 0.80),
    'yellow': (0.95, 0.78, 0.06),
    'purple': (0.48, 0.14, 0.62),
    'orange': (0.95, 0.42, 0.04),
    'white': (0.92, 0.91, 0.88),
}
SHAPES = {  # shape -> MuJoCo geometry and its half sizes [m]
    'cube': (mujoco.mjtGeom.mjGEOM_BOX, (0.022, 0.022, 0.022)),
    'cylinder': (mujoco.mjtGeom.mjGEOM_CYLINDER, (0.022, 0.025)),
    'ball': (mujoco.mjtGeom.mjGEOM_SPHERE, (0.023,)),
    'plate': (mujoco.mjtGeom.mjGEOM_CYLINDER, (0.060, 0.003)),
    'egg': (mujoco.mjtGeom.mjGEOM_ELLIPSOID, (0.032, 0.020, 0.020)),
}
_MASS = 0.06  # [kg] of each object that can be moved
_DENSITY = 400.0  # [kg/m^3] of a hazard: 0.1 to 1 kg, a block of a tower 30 to 110 g
_TABLE_HALF = (0.70, 0.80, 0.02)  # [m]
_TABLE_CENTRE = 0.28  # [m] x
_FLOOR = -0.72  # [m] z
_ARMATURE = 0.1  # [kg m^2] or [kg]: reflected rotor inertia, the class of geared arms
_BANDWIDTH = 100.0  # [rad/s] of the joint servos, critically damped
_FINGER_STIFFNESS, _FINGER_DAMPING = 4000.0, 100.0  # [N/m], [N s/m] at the tip of a finger
_FINGER_LEVER = 0.06  # [m] from the axis of a finger that turns to its tip
_ROBOT_BIT, _OBJECT_BIT = 1, 2  # robot meets objects and table; objects meet each other too


@dataclass(frozen=True)
class ObjectSpec:
    """A thing on the table."""

    name: str
    shape: str  # a key of SHAPES; a plate is fixed where it is put, the rest move freely
    colour: str  # a key of COLOURS

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UnknownNameError('shape', self.shape, SHAPES)
        if self.colour not in COLOURS:
            raise UnknownNameError('colour', self.colour, COLOURS)

    @property
    def rest_height(self) -> float:
        """Height of its centre above what it rests on [m]."""
        return SHAPES[self.shape][1][-1]

    @property
    def radius(self) -> float:
        """Horizontal distance from its centre to the middle of a side [m]."""
        return SHAPES[self.shape][1][0]


TABLETOP = (
    ObjectSpec('cube', 'cube', 'red'),
    ObjectSpec('cylinder', 'cylinder', 'green'),
    ObjectSpec('ball', 'ball', 'blue'),
    ObjectSpec('plate', 'plate', 'white'),
)


def build(
    robot: RobotSpec,
    urdf: Path,
    objects: tuple[ObjectSpec, ...],
    hazard: Hazard | None = None,
) -> mujoco.MjModel:
    """Compile the scene: robot on a table, objects, cameras, lights, joint servos.

    Args:
        robot: Names the joints, the grippers and the cameras.
        urdf: The robot description.
        objects: What lies on the table.
        hazard: What is in the way.

    Raises:
        SimulationError: MuJoCo cannot read the URDF or lacks something the robot file names.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(urdf))
    except ValueError as error:
        raise SimulationError(f'MuJoCo cannot read {urdf}: {error}.') from error
    _options(spec)
    for body in spec.bodies[1:]:
        body.gravcomp = 1.0  # the arm's own controller compensates gravity
    for geom in spec.geoms:
        solid = geom.contype != 0 or geom.conaffinity != 0
        geom.contype, geom.conaffinity = (_ROBOT_BIT, 0) if solid else (0, 0)
        geom.group = 3 if solid else 1  # group 3 is not drawn
        if geom.name.endswith('_pad'):
            geom.friction, geom.priority, geom.condim = (1.6, 0.02, 0.002), 1, 4
            geom.solref = (0.008, 1.0)
    for name in (*robot.joint_names, *(e.name1 for e in spec.equalities)):
        joint = spec.joint(name)
        if joint is None:
            raise SimulationError(
                f"{urdf.name} has no joint '{name}', which the robot file names; "
                f'it has {", ".join(j.name for j in spec.joints)}.'
            )
        lever = 1.0 if joint.name in robot.arm_joints else _finger_lever(joint)
        joint.armature = _ARMATURE * lever**2
    for equality in spec.equalities:  # fingers that mimic each other, stiff
        equality.solref, equality.solimp = (0.004, 1.0), (0.98, 0.995, 0.001, 0.5, 2.0)
    _surroundings(spec)
    for item in objects:
        _add_object(spec, item)
    if hazard is not None:
        _add_hazard(spec, hazard)
    for camera in robot.cameras:
        _add_camera(spec, camera)
    _servos(spec, robot)
    return spec.compile()


def look_at(camera: Camera) -> tuple[Array, Array]:
    """Return a camera's mount as rotation (3, 3) and position (3,) [m] in its link.

    Columns are image right, image up and away from the scene, as OpenGL has them.
    """
    position, target = np.array(camera.position), np.array(camera.look_at)
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross(camera.up, back)
    if np.linalg.norm(right) < 1e-9:
        raise SimulationError(f"camera '{camera.name}' looks along its own up direction.")
    right /= np.linalg.norm(right)
    return np.column_stack((right, np.cross(back, right), back)), position


def _options(spec: mujoco.MjSpec) -> None:
    option = spec.option
    option.timestep = TIMESTEP
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0  # friction that does not creep under a steady grasp
    option.iterations, option.ls_iterations = 20, 20
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    quality = spec.visual.quality  # Mesa draws in software: no multisampling, few facets
    quality.offsamples, quality.numslices, quality.numstacks, quality.numquads = 0, 20, 10, 1
    spec.visual.map.znear, spec.visual.map.zfar = 0.005, 8.0
    spec.stat.extent = 1.0
    spec.visual.headlight.ambient = (0.42, 0.42, 0.42)
    spec.visual.headlight.diffuse = (0.22, 0.22, 0.22)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)


def _surroundings(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name='sky', type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.62, 0.68, 0.75), rgb2=(0.40, 0.43, 0.48), width=64, height=384,
    )  # fmt: skip
    world = spec.worldbody
    world.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False,
        pos=(0.6, -0.5, 2.0), dir=(-0.25, 0.30, -1.0), diffuse=(0.45, 0.45, 0.43),
        specular=(0.15, 0.15, 0.15),
    )  # fmt: skip
    box = mujoco.mjtGeom.mjGEOM_BOX
    world.add_geom(
        name=FLOOR, type=mujoco.mjtGeom.mjGEOM_PLANE, size=(4.0, 4.0, 0.1), pos=(0.0, 0.0, _FLOOR),
        rgba=(0.42, 0.44, 0.47, 1.0), contype=0, conaffinity=0,
    )  # fmt: skip
    table = spec.worldbody.add_body(name=TABLE, pos=(_TABLE_CENTRE, 0.0, 0.0))
    table.add_geom(  # a plane gives flat contacts at a fraction of a box's cost
        name='table_contact', type=mujoco.mjtGeom.mjGEOM_PLANE, size=(*_TABLE_HALF[:2], 0.1),
        contype=0, conaffinity=_ROBOT_BIT | _OBJECT_BIT, friction=(0.6, 0.01, 0.0015), group=3,
    )  # fmt: skip
    table.add_geom(
        name=TABLE_TOP, type=box, size=_TABLE_HALF, pos=(0.0, 0.0, -_TABLE_HALF[2]),
        rgba=(0.725, 0.6625, 0.57, 1.0), contype=0, conaffinity=0,
    )  # fmt: skip
    for x in (-1, 1):
        for y in (-1, 1):
            table.add_geom(
                type=box, size=(0.03, 0.03, -_FLOOR / 2),
                pos=(x * (_TABLE_HALF[0] - 0.06), y * (_TABLE_HALF[1] - 0.06), _FLOOR / 2 - 0.02),
                rgba=(0.3, 0.3, 0.32, 1.0), contype=0, conaffinity=0,
            )  # fmt: skip


def _add_object(spec: mujoco.MjSpec, item: ObjectSpec) -> None:
    kind, half = SHAPES[item.shape]
    fixed = item.shape == 'plate'
    body = spec.worldbody.add_body(
        name=item.name, pos=(0.5, 0.0, item.rest_height), mocap=fixed, gravcomp=0.0
    )
    if not fixed:
        body.add_freejoint(name=item.name)
    body.add_geom(
        name=item.name, type=kind, size=(*half, 0.0, 0.0)[:3], mass=_MASS,
        rgba=(*COLOURS[item.colour], 1.0), friction=(0.7, 0.01, 0.0015),
        condim=6 if item.shape in ('ball', 'egg') else 4,
        contype=_OBJECT_BIT * (not fixed), conaffinity=_ROBOT_BIT | _OBJECT_BIT,
    )  # fmt: skip


def _add_hazard(spec: mujoco.MjSpec, hazard: Hazard) -> None:
    held = hazard.motion is not None  # by nothing that a push could move
    solids = {solid.name: solid for solid in hazard.at(0.0)}
    for name, body in zip(hazard.names, hazard.bodies):
        parts = [solids[solid.name] for solid in body]
        added = spec.worldbody.add_body(name=name, pos=parts[0].position, mocap=held)
        if not held:
            added.add_freejoint(name=name)
        for solid in parts:
            _add_solid(added, solid, solid.position - parts[0].position)


def _add_solid(body: mujoco.MjsBody, solid: Obstacle, offset: Array) -> None:
    x, y, z, w = solid.orientation
    kind, half = mujoco.mjtGeom.mjGEOM_SPHERE, solid.size
    if solid.shape == 'box':
        kind, half = mujoco.mjtGeom.mjGEOM_BOX, solid.size / 2.0
    elif solid.shape == 'cylinder':
        kind, half = mujoco.mjtGeom.mjGEOM_CYLINDER, solid.size[::-1] * (1.0, 0.5)
    # The gap lists near pairs with their distance; they push when they touch, hard enough that a
    # block of a tower sinks by 0.3 mm at most.
    body.add_geom(
        name=solid.name, type=kind, size=(*half, 0.0, 0.0)[:3], pos=offset, quat=(w, x, y, z),
        density=_DENSITY, rgba=(0.95, 0.45, 0.05, 1.0), condim=4, friction=(0.7, 0.01, 0.0015),
        contype=_OBJECT_BIT, conaffinity=_ROBOT_BIT | _OBJECT_BIT, gap=SEEN_FROM,
        solref=(0.006, 1.0),
    )  # fmt: skip


def _add_camera(spec: mujoco.MjSpec, camera: Camera) -> None:
    body = spec.body(camera.frame)
    if body is None:
        known = [b.name for b in spec.bodies]
        raise UnknownNameError('link', camera.frame, known, f"camera '{camera.name}'")
    rotation, position = look_at(camera)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    body.add_camera(name=camera.name, pos=position, quat=quaternion, fovy=np.degrees(camera.fovy))


def _servos(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    model = spec.compile()
    data = mujoco.MjData(model)
    arm = [model.joint(name) for name in robot.arm_joints]
    for joint, angle in zip(arm, robot.home):
        data.qpos[joint.qposadr[0]] = angle
    mujoco.mj_forward(model, data)
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    for joint in arm:
        own = float(inertia[joint.dofadr[0], joint.dofadr[0]])
        _servo(spec, joint.name, _BANDWIDTH**2 * own, 2.0 * _BANDWIDTH * own)
    for gripper in robot.grippers:
        square = _finger_lever(spec.joint(gripper.joint)) ** 2
        servo = _servo(spec, gripper.joint, _FINGER_STIFFNESS * square, _FINGER_DAMPING * square)
        servo.forcerange, servo.forcelimited = (-gripper.effort, gripper.effort), True


def _finger_lever(joint: mujoco.MjsJoint) -> float:
    """Return what makes a force at a finger one at its joint: 1 where it slides, else [m]."""
    return _FINGER_LEVER if joint.type == mujoco.mjtJoint.mjJNT_HINGE else 1.0


def _servo(
    spec: mujoco.MjSpec, joint: str, stiffness: float, damping: float
) -> mujoco.MjsActuator:
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.set_to_position(kp=stiffness, kv=damping)
    return servo
