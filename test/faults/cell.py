"""Safety filter and arm in their processes, a policy that the test plays, and what is said."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
import signal
import sys
import time
from typing import Any

from arm import TOLD, TRUTH
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from sabotage import FIRST, MODES

from vla_ros import graph, paths
from vla_ros.errors import NodeError, VlaError
from vla_ros.kinematics.model import Kinematics
from vla_ros.nodes.client import Client
from vla_ros.nodes.control import REST
from vla_ros.nodes.pace import Pace
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.safety.config import load_safety
from vla_ros.supervisor import Command, commands, Supervisor
from vla_ros.types import Array, JointState, Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
CONFIG = load_safety(paths.find('safety', 'default'))
HERE = Path(__file__).parent
SABOTAGE = str(HERE / 'sabotage.py')
LIMIT = 15.0  # [s] bound of every wait; the conditions are exact, the machine may be busy
START = 150.0  # [s] until the processes must run: the first run compiles, weights are loaded
MOVING = 0.1  # [rad/s]
DISCOVERY = 0.5  # [s] until a new process hears all others
FAST = 0.5  # [rad/s]
EVERY = 0.1  # [s] from one trajectory to the next
STEP, POINTS = 0.1, 16  # [s], count of a trajectory: longer than the plan timeout
SWING, PERIOD = 0.3, 3.0  # [rad], [s] of the first joint
EVERY_COMMAND = 200  # messages that may wait for this process: 1 s
INSTANT = 1e-4  # [s] from one reference to the next, at the least
A_WHILE = 100  # reports of the arm: 0.5 s
SLOW = 0.02  # [rad] in place of SWING: so little that tracking is never lost
DEACTIVATE, ACTIVATE = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
Message = Any


class Cell:
    """One arm, one filter and what goes with them; the policy is a thread of the test."""

    still, stays = 1e-3, 1e-4  # [rad/s], [rad] of an arm at rest

    def __init__(self, client: Client, which: Sequence[Command], robot: RobotSpec) -> None:
        self.client = client
        self.lines: list[str] = []
        self.processes = {command.name: self._process(command) for command in which}
        self._sabotaged = any(SABOTAGE in command.argv for command in which)
        self.truth: deque[JointState] = deque(maxlen=400)  # 2 s
        self.heard: deque[tuple[str, int]] = deque(maxlen=4000)  # reason, level of every status
        self.reasons: set[str] = set()  # every one that was heard in a row
        self.sent: Trajectory | None = None  # what was ahead in the newest command
        self._due = -np.inf  # [s] when the reference of the newest command is due
        self.wrong: list[str] = []  # what no command and no motion may ever be
        self.late = False  # the arm's own process has been late since this was cleared
        self.refused = 0  # trajectories, as the diagnostics count them
        self.mangle: Callable[[Message], Sequence[Message]] = lambda m: [m]
        self.failed: list[BaseException] = []
        self._began, self._centre, self._sign = 0.0, np.array(ROBOT.home), 1.0
        self.swing = SWING
        self.towards = 0.0  # sign of a motion that must not turn; 0: towards the middle
        self.ball: Obstacle
        self.reports = 0  # of the forwarder
        self.least = np.inf  # [m] smallest barrier since the ball was shown
        self._shown = 0.0  # [s] stamp of the last obstacles
        self.pressed: bool | None = True  # what the dead-man switch says; None: nothing
        self._tuned: dict[str, float] = {}  # parameters that were changed -> value before
        self._kinematics = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
        self._out = {
            topic: client.node.create_publisher(
                interface(topic.type), topic.name, profile(topic.qos)
            )
            for topic in (
                graph.TRAJECTORY, graph.OBSTACLES, graph.ESTOP, TOLD, *graph.enable_topics(robot)
            )
        }  # fmt: skip
        self._enable = next(iter(graph.enable_topics(robot)), None)
        client.listen(TRUTH, self._on_truth)
        # Every one of them: which references lead a command is told by the command before.
        command = graph.command_topics(robot)[0]
        every = replace(command.qos, depth=EVERY_COMMAND)
        client.listen(replace(command, qos=every), self._on_command)
        client.listen(graph.DIAGNOSTICS, self._on_diagnostics)
        for topic in graph.hold_topics(robot):
            client.listen(topic, self._on_report)
        client.listen(graph.SAFETY_STATUS, self._on_status)
        self.policy = Pace(1.0 / EVERY, self._publish, failed=self.failed.append, name='policy')

    def start(self) -> None:
        """Start every process and the policy, and wait until arm and filter are heard."""
        for process in self.processes.values():
            process.start()
        self.policy.start()
        self.until(lambda: self.truth and self.status, 'both processes', START)

    def close(self) -> None:
        """End every process; a stopped one is woken for it."""
        self.policy.stop()
        for process in self.processes.values():
            process.stop()

    # --- what is said ---

    @property
    def now(self) -> float:
        """ROS time [s]."""
        return self.truth[-1].stamp

    @property
    def status(self) -> Any:
        return self.client.safety

    @property
    def speed(self) -> float:
        """Fastest joint [rad/s]."""
        return float(np.abs(self.truth[-1].velocity[:-1]).max())

    @property
    def place(self) -> Array:
        """Arm joints (dof,) [rad]."""
        return self.truth[-1].position[:-1]

    def travel(self) -> float:
        """Way of the first joint within the last 300 reports [rad]."""
        recent = [t.position[0] for t in list(self.truth)[-300:]]
        return max(recent) - min(recent)

    def until(self, condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
        try:
            return self.client.until(lambda: self.failed or condition(), limit, what)
        except NodeError as error:
            raise NodeError(f'{error} {self.reasons} {self.status} {self.lines[-6:]}') from None

    # --- what is done ---

    def tell(self, words: str) -> None:
        """Tell the arm what to do wrong."""
        self._out[TOLD].publish(convert.text_to_msg(words))

    def behave(self) -> None:
        """End whatever was done wrong."""
        self.mangle = lambda m: [m]
        self.swing, self.pressed, self.towards = SWING, True, 0.0
        for name, value in self._tuned.items():
            self._set(name, value)
        self._tuned.clear()
        for words in ('joints honest', 'controller follow', 'rate 1'):
            self.tell(words)
        self.estop(False)
        self.obstacles(())
        if self._sabotaged:
            self.sabotage('sound')

    def estop(self, pressed: bool) -> None:
        self._out[graph.ESTOP].publish(convert.flag_to_msg(pressed))

    def obstacles(self, solids: Sequence[Obstacle], frame: str = ROBOT.base_frame) -> None:
        self._shown = max(self.now, self._shown + 1e-3)  # an array must be newer than the last
        self._out[graph.OBSTACLES].publish(convert.obstacles_to_msg(solids, self._shown, frame))

    def obstacle_nan(self) -> None:
        self.obstacles([ball('nowhere', np.array([1.0, np.nan, 1.0]), 0.1)])

    def obstacle_lost(self) -> None:
        self.obstacles([ball('elsewhere', np.array([1.0, 0.0, 1.0]), 0.1)], 'another_frame')

    def obstacle_inside(self, role: str) -> None:
        self.slow()
        self.ball = ball('inside', self._kinematics.fk(self.place)[1], 0.1, role)
        self.obstacles([self.ball])

    def gap(self) -> float:
        """Return the distance from the arm to the ball that was shown last [m]."""
        return self._clearance(self.place, self.ball.position) - float(self.ball.size[0])

    def obstacle_near(self) -> None:
        """Put a ball where the hand goes, within the margin of it; slowly, so that it fits."""
        self.slow()
        self.towards = float(np.sign(self.truth[-1].velocity[0]))
        self.least = np.inf
        self.ball = self._in_front(0.8 * CONFIG.margin_obstacle)
        self.obstacles([self.ball])

    def obstacle_left_alone(self) -> None:
        """Show a moving ball far away, and never again."""
        far = ball('moving', np.array([3.0, 0.0, 1.0]), 0.1)
        self.obstacles([replace(far, linear_velocity=np.array([0.01, 0.0, 0.0]))])

    def sabotage(self, mode: str) -> None:
        """Break a part of the filter's process."""
        self.signal('safety_filter', FIRST + MODES.index(mode))

    def signal(self, name: str, number: int) -> None:
        self.processes[name].signal(name, number)

    def restart(self, name: str) -> None:
        """Kill a process, see the arm come to rest without it, and start it again."""
        self.signal(name, signal.SIGKILL)
        self.until(lambda: self.speed < self.still, 'rest')
        self.revive(name)

    def revive(self, name: str) -> None:
        """Start a process that has ended, and wait until the filter is heard."""
        self.processes[name].stop()
        self.processes[name] = self._process(*self.processes[name].commands)
        self.heard.clear()
        self.reports = 0
        self.processes[name].start()
        self.until(lambda: self.heard, 'the filter', START)
        if name == 'forwarder':
            self.until(lambda: self.reports > 1, 'the forwarder', START)
        time.sleep(DISCOVERY)

    def wake(self) -> None:
        """Let every process run that a row has stopped or killed."""
        for name in self.processes:
            try:
                self.signal(name, signal.SIGCONT)
            except VlaError:
                self.revive(name)

    def freeze(self, name: str) -> None:
        """Stop a process, see the arm come to rest without it, and let it go on."""
        self.signal(name, signal.SIGSTOP)
        time.sleep(3.0 * CONFIG.deadline)
        self.until(lambda: self.speed < self.still, 'rest')
        self.heard.clear()
        self.signal(name, signal.SIGCONT)

    def slow(self) -> None:
        """Let the policy move the arm slowly."""
        self.swing = SLOW
        self.look()

        def slowly() -> bool:
            """Say whether it moves, and was slow for a while: a turn is slow for a moment."""
            lately = [np.abs(t.velocity[:-1]).max() for t in list(self.truth)[-A_WHILE:]]
            return self.speed > 0.5 * SLOW and max(lately) < 2.5 * SLOW

        self.until(slowly, 'slow motion')

    def stop_slowly(self, name: str) -> None:
        """Stop a process at so slow a motion that nothing else is noticed before."""
        self.slow()
        self.signal(name, signal.SIGSTOP)

    def kill_fast(self, name: str) -> None:
        """Kill a process at so fast a motion that the arm is missed before the process."""

        def faster() -> bool:
            before = float(np.abs(self.truth[-20].velocity[:-1]).max())
            return before < FAST < self.speed  # and it will be for a while

        self.until(faster, 'fast motion')
        self.signal(name, signal.SIGKILL)

    def silence(self) -> None:
        """Let the policy say nothing more."""
        self.mangle = lambda m: []

    def restart_idle(self) -> None:
        self.silence()
        self.restart('safety_filter')

    def restart_blind(self) -> None:
        self.tell('joints mute')
        self.restart('safety_filter')

    def restart_deaf(self) -> None:
        self.signal('safety_filter', signal.SIGKILL)
        self.until(lambda: self.speed < self.still, 'rest')
        self.tell('controller jam')
        self.look()
        self.revive('safety_filter')

    def restart_at(self, shift: Array) -> None:
        """Start the filter at a pose (dof,) [rad] from home, to which the arm was carried."""
        self.signal('safety_filter', signal.SIGKILL)
        self.until(lambda: self.speed < self.still, 'rest')
        self.tell('place ' + ' '.join(f'{angle:.4f}' for angle in np.array(ROBOT.home) + shift))
        self.revive('safety_filter')

    def activate_blind(self) -> None:
        self.transit(DEACTIVATE)
        self.tell('joints mute')
        time.sleep(0.1)
        self.transit(ACTIVATE)

    def begin_far(self) -> None:
        """After a reset at rest, send plans that begin far from the arm."""
        self.silence()
        self.rests()
        self.reset()

        def far(message: Message) -> list[Message]:
            for point in message.points:
                point.positions[1] += 1.0
            return [message]

        self.mangle = far

    def transit(self, number: int) -> None:
        """Ask the filter for a transition of its life."""
        request = ChangeState.Request()
        request.transition.id = number
        assert self._call(ChangeState, 'safety_filter/change_state', request).success

    def tune(self, name: str, value: float, taken: bool) -> None:
        """Set a parameter of the filter and see whether it is taken."""
        request = GetParameters.Request(names=[name])
        answer = self._call(GetParameters, 'safety_filter/get_parameters', request)
        before = answer.values[0].double_value
        assert self._set(name, value) == taken, f'{name} = {value}'
        if taken:
            self._tuned[name] = before

    def _set(self, name: str, value: float) -> bool:
        number = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=number)])
        answer = self._call(SetParameters, 'safety_filter/set_parameters', request)
        return bool(answer.results[0].successful)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.client.node.create_client(kind, name)
        try:
            self.until(client.service_is_ready, name)
            return self.client.wait(client.call_async(request), LIMIT, name)
        finally:
            self.client.between(lambda: self.client.node.destroy_client(client))

    def _process(self, command: Command) -> Supervisor:
        def write(name: str, line: str) -> None:
            self.lines.append(f'[{name}] {line}')

        return Supervisor((command,), write)

    def look(self) -> None:
        """Begin the policy's motion anew where the arm is, towards the middle of its range."""
        self._centre, self._began = self.place.copy(), self.now
        self._sign = self.towards or (-1.0 if self._centre[0] > 0.0 else 1.0)

    def ready(self) -> None:
        """Clear what is latched, as a dead-man switch is at first, until the arm moves."""

        def moving() -> bool:
            if self.status.latched:
                self.reset()
            if self.swing != SWING or self.speed < self.still:
                self.swing = SWING
                self.look()
            return self.moving

        self.until(moving, 'motion', 3.0 * LIMIT)

    def moves(self) -> None:
        """Wait until the arm moves as the policy wants, with no fault."""
        if self.swing != SWING or self.speed < self.still:  # else it swings on
            self.swing = SWING
            self.look()
        self.until(lambda: self.moving, 'motion')

    @property
    def moving(self) -> bool:
        """Whether the arm moves as the policy wants, with no fault."""
        return self.speed > MOVING and self.status.level <= 1 and not self.status.latched

    @property
    def told_to_rest(self) -> bool:
        """Whether the newest command stands still, by the measure of the filter."""
        return bool(np.abs(self.sent.velocities).max() < REST)

    def rests(self) -> None:
        """Wait until the arm is at rest, and the filter wants it there."""
        self.until(lambda: self.speed < self.still, 'rest')
        self.until(lambda: self.told_to_rest, 'a command to rest')

    def reset(self) -> None:
        """Call the service until it says that it is done: it refuses while the arm moves."""

        def cleared() -> bool:
            try:
                self.client.reset_safety()
            except NodeError:
                return False
            return True

        self.until(cleared, 'the reset')

    def _in_front(self, gap: float) -> Obstacle:
        """Return a ball that the hand moves towards, `gap` [m] away from the nearest capsule."""
        radius = 0.05
        place, sign = self.place, float(np.sign(self.truth[-1].velocity[0]))
        tool = self._kinematics.fk(place)[1]
        along = sign * np.cross([0.0, 0.0, 1.0], tool)
        along /= np.linalg.norm(along)
        near, far = 0.0, 1.0
        while far - near > 1e-5:
            middle = 0.5 * (near + far)
            clear = self._clearance(place, tool + middle * along) - radius
            near, far = (middle, far) if clear < gap else (near, middle)
        return ball('in front', tool + far * along, radius)

    def _clearance(self, place: Array, point: Array) -> float:
        """Return the distance from a point (3,) [m] to the nearest capsule."""
        best = np.inf
        for capsule in ROBOT.capsules:
            R, p = self._kinematics.frame_pose(place, capsule.link)
            a, b = p + R @ np.array(capsule.a), p + R @ np.array(capsule.b)
            share = np.clip((point - a) @ (b - a) / max((b - a) @ (b - a), 1e-12), 0.0, 1.0)
            best = min(best, float(np.linalg.norm(point - a - share * (b - a))) - capsule.radius)
        return best

    # --- threads ---

    def _on_truth(self, message: Message) -> None:
        state = convert.joint_state_from_msg(message, ROBOT.joint_names)
        self.truth.append(state)
        shares = np.abs(state.velocity[:-1]) / ROBOT.limits('velocity')
        late = any(message.effort)
        self.late |= late
        if shares.max() > 1.1 and not late:
            joint = int(shares.argmax())
            self.wrong.append(f'joint {joint} moved at {shares[joint]:.2f} of its limit')

    def _on_command(self, message: Message) -> None:
        command = convert.trajectory_from_msg(message, ROBOT.arm_joints)
        v = command.velocities
        # References that came before lead a command; its own begins behind the one before.
        due = command.stamp + command.times
        ahead = due > self._due + INSTANT
        ahead[-1] = True
        self._due = due[ahead][0]
        times, positions = command.times[ahead], command.positions[ahead]
        self.sent = Trajectory(command.stamp, times, positions, v[ahead])
        finite = np.isfinite(command.positions).all() and np.isfinite(v).all()
        if not finite or v[-1].any() or (np.diff(command.times) <= 0.0).any():
            self.wrong.append(f'a command does not end at rest: {command}')
        if (np.abs(v) > ROBOT.limits('velocity') + 1e-9).any():
            self.wrong.append(f'a command is too fast: {v}')

    def _on_status(self, message: Message) -> None:
        self.heard.append((message.reason, message.level))
        self.least = min(self.least, message.min_barrier)
        self.reasons.add(message.reason)

    def _on_report(self, message: Message) -> None:
        self.reports += 1

    def _on_diagnostics(self, message: Message) -> None:
        for status in message.status:
            for pair in status.values:
                if pair.key == 'refused_trajectories':
                    self.refused = int(pair.value)

    def _publish(self, dt: float) -> None:
        if not self.truth:
            return
        if self._enable is not None and self.pressed is not None:
            self._out[self._enable].publish(convert.flag_to_msg(self.pressed))
        now = self.now
        times = STEP * np.arange(1, POINTS + 1)
        positions = np.tile(np.append(self._centre, ROBOT.gripper.open), (POINTS, 1))
        angle = 2.0 * np.pi * np.maximum(now - self._began + times, 0.0) / PERIOD
        positions[:, 0] += self._sign * self.swing * (1.0 - np.cos(angle))
        message = convert.trajectory_to_msg(Trajectory(now, times, positions), ROBOT.joint_names)
        for mangled in self.mangle(message):
            self._out[graph.TRAJECTORY].publish(mangled)


def ball(name: str, centre: Array, radius: float, role: str = 'obstacle') -> Obstacle:
    """Return a ball at rest."""
    return Obstacle(name, 'sphere', np.array([radius]), centre, role=role)


def programs(robot: str, simulated: bool = False, sabotaged: bool = False) -> list[Command]:
    """Return the arm and all that the graph puts between it and a policy."""
    spec = load_robot(paths.find('robots', robot))
    nodes = list(
        commands(spec, {'robot': robot, 'use_sim_time': simulated}, without=('sim', 'policy'))
    )
    if sabotaged:
        (node,) = nodes
        options = node.argv[node.argv.index('--ros-args') :]
        nodes = [Command(node.name, (sys.executable, SABOTAGE, *options))]
    kind = 'simulated' if simulated else 'real'
    return [Command('arm', (sys.executable, str(HERE / 'arm.py'), robot, kind)), *nodes]
