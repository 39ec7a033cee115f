"""The picture of one instant: the arm, what is near it and what the safety filter does about it.

Everything is taken from the filter's own geometry, at the joints that were measured.
"""

from __future__ import annotations

from textwrap import wrap

import numpy as np

from vla_ros.kinematics import Kinematics
from vla_ros.mark import Colour, Mark
from vla_ros.robot import RobotSpec
from vla_ros.safety import drawing
from vla_ros.safety.check import CONTACT
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.distance import PLANE
from vla_ros.safety.limits import limits_of
from vla_ros.safety.model import build_model
from vla_ros.safety.result import Level
from vla_ros.safety.scene import Scene
from vla_ros.safety.world import World
from vla_ros.status import ExecutionState, SafetyStatus
from vla_ros.types import Array, JointState

SPACES = (
    'arm',
    'distances',
    'floor',
    'inflation',
    'intervention',
    'motion',
    'obstacles',
    'status',
)
NEAREST = 3  # pairs whose distance is shown
SILENT = 0.5  # [s] after which the newest joint state or report of the filter is old
AHEAD = 0.5  # [s] of motion that an arrow shows
MOVING = 0.005  # [m/s] of the tool; a slower one has no arrow
LETTER = 0.025  # [m] height of a capital letter
WIDE = 48  # letters of a line

# For eyes that do not tell red from green; the words say the level too.
LEVELS: dict[Level, tuple[float, float, float]] = {
    Level.S0_NOMINAL: (0.0, 0.62, 0.45),  # green
    Level.S1_FILTERED: (0.94, 0.89, 0.26),  # yellow
    Level.S2_VERIFIED_BRAKE: (0.90, 0.55, 0.0),  # orange
    Level.S3_HOLD: (0.80, 0.10, 0.10),  # red
    Level.S4_DRIVER_STOP: (0.60, 0.20, 0.60),  # purple
}
UNKNOWN = (0.5, 0.5, 0.5)  # the filter is silent
ROLES = {
    'obstacle': (0.35, 0.45, 0.65),
    'target': (0.2, 0.6, 0.85),
    'support': (0.5, 0.4, 0.3),
    'person': (0.85, 0.45, 0.6),
}
NOMINAL = (0.1, 0.5, 1.0)
WHITE = (1.0, 1.0, 1.0)
TOO_NEAR = LEVELS[Level.S3_HOLD]


class Picture:
    """Draws one arm and its surroundings; not thread-safe."""

    def __init__(self, robot: RobotSpec, config: SafetyConfig) -> None:
        """Build the filter's geometry of a robot.

        Raises:
            KinematicsError: The robot is not one that the filter can model.
        """
        urdf = robot.urdf_path
        self._robot = robot
        self._scene = Scene(build_model(robot, urdf), limits_of(robot), config)
        self._arms = [
            (robot.columns(arm), Kinematics(urdf, arm.joint_names, arm.tool_frame))
            for arm in robot.arms
        ]
        self._numbers: dict[str, int] = {}  # name of an obstacle -> number of its marks
        self._scene.rows(np.array(robot.home), 0.0)
        self._scene.witness(0)  # compiles, so that the first picture is as fast as the others

    def draw(
        self,
        now: float,
        joints: JointState | None,
        world: World,
        status: SafetyStatus | None,
        execution: ExecutionState | None,
    ) -> list[Mark]:
        """Return everything to draw.

        Args:
            now: ROS time [s].
            joints: Newest measured joints; None before the first.
            world: As the filter merges it.
            status: Newest report of the filter; None before the first.
            execution: Newest execution state; None before the first.
        """
        known = joints is not None and np.isfinite(joints.position).all()
        # A copy: for a read-only array the core would be compiled once more.
        q = np.array(joints.position[: self._robot.dof] if joints and known else self._robot.home)
        heard = status is not None and now - status.stamp < SILENT
        colour = LEVELS[Level(status.level)] if status and heard else UNKNOWN
        self._scene.set_world(world)
        self._scene.rows(q, now)
        lines = describe(now, joints, world, status, execution)
        marks = [*self._surroundings(), self._words(lines, colour)]
        if not (joints and known):
            return marks
        fresh = now - joints.stamp < SILENT
        active = status.active_constraints if status and heard else ()
        marks += self._arm(active, colour if fresh else UNKNOWN)
        if fresh:
            marks += self._distances(active, colour)
            if status and heard:
                marks += self._motion(q, status, colour)
        return marks

    def _arm(self, active: tuple[str, ...], colour: tuple[float, float, float]) -> list[Mark]:
        """Return the capsules; those of a binding constraint are solid, the rest translucent."""
        held_back = {body for name in active for body in name.split('/')}
        model, marks = self._scene.model, []
        for i, (name, part) in enumerate(zip(model.capsules, model.parts)):
            if part != 'outline':  # corners of what a held body already shows
                shade = (*colour, 0.9 if name in held_back else 0.4)
                a, b = self._scene.ends[i]
                radius = float(model.arm.capsule_radius[i])
                marks += drawing.capsule('arm', 2 * i, shade, a, b, radius)
        return marks

    def _surroundings(self) -> list[Mark]:
        """Return floor and obstacles, and around each the surface that no link may pass."""
        marks: list[Mark] = []
        floor = self._scene.model.arm.floor
        if np.isfinite(floor):
            place, shade = np.array([0.0, 0.0, floor]), (*ROLES['support'], 0.25)
            marks += drawing.body('floor', 0, shade, PLANE, place, np.eye(3), np.zeros(3), 0.0)
        for solid in self._scene.solids():
            o = solid.obstacle
            number = 2 * self._numbers.setdefault(o.name, len(self._numbers))
            shade, shell = (*ROLES[o.role], 0.9), (*ROLES[o.role], 0.2)
            marks += drawing.shape('obstacles', number, shade, o, solid.centre, solid.turn)
            marks += drawing.body(
                'inflation', number, shell, solid.kind, solid.centre, solid.turn, solid.half,
                solid.radius + max(solid.margin, 0.0),
            )  # fmt: skip
        return marks

    def _distances(
        self, active: tuple[str, ...], colour: tuple[float, float, float]
    ) -> list[Mark]:
        """Return a line and its length for each of the nearest pairs."""
        marks: list[Mark] = []
        pairs = [(near, *self._scene.witness(near.row)) for near in self._scene.nearest(NEAREST)]
        pairs.sort(key=lambda pair: -float(pair[1][2] + pair[2][2]))  # from above downwards
        for i, (near, here, there) in enumerate(pairs):
            shade: Colour = (*(colour if near.name in active else WHITE), 1.0)
            if near.distance < near.margin - CONTACT:
                shade = (*TOO_NEAR, 1.0)
            text = f'{near.name} {1e3 * near.distance:.0f} mm'
            place = (here + there) / 2.0 + [0.0, 0.0, 1.5 * LETTER * (1 - i)]  # apart
            marks.append(drawing.line('distances', 2 * i, shade, here, there))
            marks.append(drawing.words('distances', 2 * i + 1, shade, place, text, LETTER))
        return marks

    def _motion(
        self, q: Array, status: SafetyStatus, colour: tuple[float, float, float]
    ) -> list[Mark]:
        """Return where a tool would go and where it is let go, v = J(q) qd, and what acts."""
        marks: list[Mark] = []
        arrows: tuple[tuple[Array, Colour, float], ...] = (
            (status.nominal_velocity, (*NOMINAL, 0.9), 0.008),
            (status.filtered_velocity, (*colour, 0.6), 0.02),
        )
        for k, (columns, kinematics) in enumerate(self._arms):
            _, there, jacobian = kinematics.fk_jacobian(q[columns])
            tool = there.copy()
            for i, (velocity, shade, width) in enumerate(arrows):
                if len(velocity) < len(q):  # of another robot
                    continue
                shift, number = AHEAD * (jacobian[:3] @ velocity[columns]), len(arrows) * k + i
                if np.linalg.norm(shift) > AHEAD * MOVING:
                    end = tool + shift
                    marks.append(drawing.arrow('motion', number, shade, tool, end, width))
        if status.intervention:
            place, text = tool - [0.0, 0.0, 0.08], status.intervention
            marks.append(
                drawing.words('intervention', 0, (*colour, 1.0), place, text, 1.5 * LETTER)
            )
        return marks

    def _words(self, lines: list[str], colour: tuple[float, float, float]) -> Mark:
        """Return lines above the arm."""
        text = '\n'.join(part for line in lines for part in wrap(line, WIDE))
        place = np.array([0.0, 0.0, float(self._scene.ends[:, :, 2].max()) + 0.25])
        return drawing.words('status', 0, (*colour, 1.0), place, text, 1.5 * LETTER)


def describe(
    now: float,
    joints: JointState | None,
    world: World,
    status: SafetyStatus | None,
    execution: ExecutionState | None,
) -> list[str]:
    """Return who is silent, the level and its reason, as lines for an operator."""
    lines = []
    for name, value in (('safety filter', status), ('joint states', joints)):
        if value is None:
            lines.append(f'no {name} yet')
        elif now - value.stamp >= SILENT:
            lines.append(f'{name} silent for {now - value.stamp:.1f} s')
    if joints is not None and not np.isfinite(joints.position).all():
        lines.append('joint states are not finite')
    if world.refused:
        lines.append(f'obstacles refused: {world.refused}')
    if status is None or now - status.stamp >= SILENT:
        return lines
    level = Level(status.level).name.replace('_', ' ').lower().capitalize()
    lines += [f'{level}: {status.reason}' if status.reason else level, status.message]
    binding = ', '.join(status.active_constraints)
    if binding not in status.message:
        lines.append(f'bound by {binding}')
    if np.isfinite(status.min_barrier):
        above = round(1e3 * status.min_barrier)
        lines.append(f'{status.min_barrier_pair}: {above} mm above its margin')
    if execution is not None:
        lines.append(f'mode {status.mode}, plan clock at {execution.rate:.2f}')
    if status.dry_run:
        lines.append('dry run: nothing is sent')
    return lines
