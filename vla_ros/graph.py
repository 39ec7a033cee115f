"""The node graph as data: topics, types, QoS, rates, processes. No ROS import here.

`vla up`, the launch files, the nodes and the tests all read this one description.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from vla_ros.robot import RobotSpec, TRANSPORTS

JOINT_STATE_RATE = 200.0  # [Hz] simulator
STATUS_RATE = 20.0  # [Hz] status topics
EXECUTION_RATE = 50.0  # [Hz] of the execution state
POLICY_NICE = 10  # the policy gives way to a control loop that may not take priority
MARKERS_NICE = 10  # pictures for people give way as the policy does
RECORDER_NICE = 5  # as do recordings; less so, for what they do not hear in time is lost
SAFETY_NICE = -10  # where the right to it exists: callbacks and DDS threads feed the loop
SIM_NICE = -5  # likewise: it stands in for hardware, which no load slows down
NAMESPACE = ''  # topics are relative; a launch file may push a namespace


@dataclass(frozen=True)
class Qos:
    """A quality-of-service profile, by ROS 2's own words."""

    reliable: bool
    transient_local: bool = False
    depth: int = 1


SENSOR = Qos(reliable=False)  # newest only
CAMERA = Qos(reliable=False, depth=8)  # a callback may be 0.27 s late before a picture is lost
COMMAND = Qos(reliable=True)
LATCHED = Qos(reliable=True, transient_local=True)
EVENTS = Qos(reliable=True, depth=50)  # nothing may be skipped by a recorder


@dataclass(frozen=True)
class Topic:
    """A topic, its message type and its QoS."""

    name: str
    type: str
    qos: Qos

    @property
    def volatile(self) -> Topic:
        """The topic without history, as `ros2 topic pub` and most clients publish by default.

        A subscription that asks for history never matches such a publisher, so topics that
        people publish by hand are heard both ways.
        """
        return replace(self, qos=replace(self.qos, transient_local=False))


CLOCK = Topic('/clock', 'rosgraph_msgs/msg/Clock', SENSOR)
JOINT_STATES = Topic('joint_states', 'sensor_msgs/msg/JointState', SENSOR)
INSTRUCTION = Topic('vla/instruction', 'std_msgs/msg/String', LATCHED)
TRAJECTORY = Topic('vla/trajectory', 'trajectory_msgs/msg/JointTrajectory', COMMAND)
OVERRIDE = Topic('vla/override', 'trajectory_msgs/msg/JointTrajectory', COMMAND)
DRY_RUN_COMMAND = Topic('vla/dry_run_command', 'trajectory_msgs/msg/JointTrajectory', COMMAND)
CHUNK = Topic('vla/chunk', 'vla_ros_msgs/msg/ChunkInfo', EVENTS)
EXECUTION_STATE = Topic('vla/execution_state', 'vla_ros_msgs/msg/ExecutionState', COMMAND)
SAFETY_STATUS = Topic('vla/safety_status', 'vla_ros_msgs/msg/SafetyStatus', EVENTS)
POLICY_STATUS = Topic('vla/policy_status', 'vla_ros_msgs/msg/PolicyStatus', EVENTS)
OBSTACLES = Topic('vla/obstacles', 'vla_ros_msgs/msg/ObstacleArray', LATCHED)
ESTOP = Topic('vla/estop', 'std_msgs/msg/Bool', LATCHED)
TASK_STATE = Topic('vla/task_state', 'vla_ros_msgs/msg/TaskState', EVENTS)
MARKERS = Topic('vla/markers', 'visualization_msgs/msg/MarkerArray', COMMAND)
ROBOT_DESCRIPTION = 'robot_description'  # by robot_state_publisher, as everywhere in ROS
DIAGNOSTICS = Topic('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', EVENTS)

RESET_SERVICE = ('vla/reset', 'std_srvs/srv/Trigger')  # clears a latched stop
FORWARDER_RESET_SERVICE = ('vla/forwarder/reset', 'std_srvs/srv/Trigger')  # vla/reset calls it
START_SERVICE = ('vla/start_instruction', 'vla_ros_msgs/srv/StartInstruction')
STOP_SERVICE = ('vla/stop_instruction', 'std_srvs/srv/Trigger')
WORLD_SERVICE = ('sim/reset_world', 'vla_ros_msgs/srv/ResetWorld')
RUN_ACTION = ('vla/run_instruction', 'vla_ros_msgs/action/RunInstruction')


@dataclass(frozen=True)
class Argument:
    """A launch argument: the parameter of that name of every process that takes it."""

    name: str
    default: str | int | float | bool
    description: str


ARGUMENTS = {
    argument.name: argument
    for argument in (
        Argument('robot', 'panda', 'Robot file: a name in config/robots or a path.'),
        Argument('policy', 'tiny_pi0', 'Policy file: a name in config/policies or a path.'),
        Argument('safety', 'default', 'Safety file: a name in config/safety or a path.'),
        Argument(
            'scene', 'empty', 'What stands around the arm: a name in config/scenes or a path.'
        ),
        Argument('suite', 'tabletop', 'Task suite: a name in config/suites or a path.'),
        Argument('task', 'reach', 'Task of the first episode.'),
        Argument('seed', -1, 'Seed of the scene and of all noise; -1 takes a fresh one.'),
        Argument('dry_run', False, 'Compute every command and send none to the controllers.'),
        Argument('speed_scale', 1.0, 'Upper bound of the speed along the plan, in (0, 1].'),
        Argument('markers', False, 'Start the process that draws for RViz and Foxglove.'),
        Argument(
            'preflight', False, 'Activate the safety filter only once nothing is found to be bad.'
        ),
        Argument('record', False, 'Start the process that records a bag.'),
        Argument('bag', '', 'Folder of that bag; empty: bag_ and the time of day, here.'),
        Argument('images', 'raw', 'Pictures in a bag: raw, without loss, or jpeg.'),
        Argument('use_sim_time', False, 'Follow /clock in place of the wall clock.'),
        Argument(
            'autostart', True, 'Configure and activate at once, without a lifecycle manager.'
        ),
        Argument('policy_python', '', 'Python that runs the policy, where torch is; empty: ours.'),
    )
}
COMMON = ('use_sim_time', 'autostart')  # what every node takes beside the simulator, which is time


def camera_topics(robot: RobotSpec, camera: str) -> tuple[Topic, Topic]:
    """Return the picture topic and the camera_info topic of one camera."""
    source = robot.camera(camera)
    kind = 'CompressedImage' if source.transport == 'compressed' else 'Image'
    info = source.topic[: source.topic.rfind('/') + 1] + 'camera_info'
    return (
        Topic(source.topic + TRANSPORTS[source.transport], f'sensor_msgs/msg/{kind}', CAMERA),
        Topic(info, 'sensor_msgs/msg/CameraInfo', CAMERA),
    )


def rates(robot: RobotSpec) -> dict[str, float]:
    """Return the rate [Hz] of topics that have one, by name; of joint states the simulator's."""
    cameras = {t.name: c.rate for c in robot.cameras for t in camera_topics(robot, c.name)}
    return {
        **cameras,
        JOINT_STATES.name: JOINT_STATE_RATE,
        EXECUTION_STATE.name: EXECUTION_RATE,
        SAFETY_STATUS.name: STATUS_RATE,
        POLICY_STATUS.name: STATUS_RATE,
    }


class Controller(NamedTuple):
    """A controller that the robot file means."""

    input: str  # name of its topic or action
    type: str  # of that
    kind: str  # a word of robot.KINDS or, of a gripper, of robot.GRIPPERS
    joints: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name in ros2_control, where what a controller takes is named after it."""
        return self.input.rpartition('/')[0]


def controllers(robot: RobotSpec) -> tuple[Controller, ...]:
    """Return the controllers: of each arm, then its gripper's own."""
    found = []
    for arm in robot.arms:
        driver, hand = arm.driver, arm.hand
        of_arm = Controller(driver.arm_topic, driver.arm.type, driver.kind, arm.commanded_joints)
        found.append(of_arm)
        if hand is not None and arm.gripper is not None:
            joint = (arm.gripper.joint,)
            found.append(Controller(driver.gripper_topic, hand.type, driver.gripper, joint))
    return tuple(found)


def controller_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return those of the controllers' inputs that are topics."""
    found = controllers(robot)
    return tuple(Topic(c.input, c.type, COMMAND) for c in found if '/msg/' in c.type)


def controller_actions(robot: RobotSpec) -> tuple[tuple[str, str], ...]:
    """Return name and type of those of the controllers' inputs that are actions."""
    return tuple((c.input, c.type) for c in controllers(robot) if '/action/' in c.type)


def action_statuses(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return the topic by which the server of each of these actions shows that it is there."""
    kind = 'action_msgs/msg/GoalStatusArray'
    names = (name for name, _ in controller_actions(robot))
    return tuple(Topic(f'{name}/_action/status', kind, LATCHED) for name in names)


def command_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return where the safety filter sends commands: of each arm, then its gripper's own.

    All are joint trajectories; the forwarder stands between where a controller takes another
    kind of command.
    """
    found, kind = [], 'trajectory_msgs/msg/JointTrajectory'
    for arm in robot.arms:
        driver, hand = arm.driver, arm.hand
        found.append('vla/command' if driver.streams else driver.arm_topic)
        if hand is not None:
            found.append('vla/gripper_command' if hand.forwarded else driver.gripper_topic)
    return tuple(Topic(name, kind, COMMAND) for name in found)


def forwarded_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return those of the commands that the forwarder takes to a controller."""
    direct = controller_topics(robot)
    return tuple(topic for topic in command_topics(robot) if topic not in direct)


def hold_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return where the forwarder says what it holds: nothing, while the stream runs."""
    kind = 'sensor_msgs/msg/JointState'
    return (Topic('vla/forwarder_hold', kind, COMMAND),) if robot.streams else ()


def feedback_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return where the forwarder hears of the joints: for velocities and for aborted goals."""
    kinds = [arm.driver.arm for arm in robot.arms]
    return (JOINT_STATES,) if any(k.velocity or '/action/' in k.type for k in kinds) else ()


def last_resort_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return where the safety filter itself says 0 once the forwarder is lost.

    Only where the arm would run on at its last velocity; else nobody but the forwarder speaks
    to that controller.
    """
    return controller_topics(robot)[:1] if robot.arms[0].driver.arm.runs_on else ()


def enable_topics(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return the topic of the dead-man switch, where the robot file has one.

    It asks for no history: what was pressed once is not pressed now.
    """
    return (Topic('vla/enable', 'std_msgs/msg/Bool', SENSOR),) if robot.enable else ()


def stop_services(robot: RobotSpec) -> tuple[tuple[str, str], ...]:
    """Return the stop services of the drivers, where the robot file names them, each once."""
    names = dict.fromkeys(arm.driver.stop for arm in robot.arms if arm.driver.stop)
    return tuple((name, 'std_srvs/srv/Trigger') for name in names)


@dataclass(frozen=True)
class Process:
    """One process of the graph: a lifecycle node with its inputs and outputs."""

    node: str  # node name and log prefix
    executable: str  # console script under lib/vla_ros
    module: str  # module with main(), for `python -m`
    parameters: tuple[str, ...]  # names of the launch arguments that it takes
    subscribes: tuple[Topic, ...]
    publishes: tuple[Topic, ...]
    services: tuple[tuple[str, str], ...] = ()
    actions: tuple[tuple[str, str], ...] = ()
    nice: int = 0
    critical: bool = True  # its death stops the arm and ends the session
    simulation_only: bool = False
    wanted: str = ''  # launch argument without which it is not started; empty: always
    interpreter: str = ''  # launch argument that names the Python that runs it; empty: ours


def processes(robot: RobotSpec, simulated: bool) -> tuple[Process, ...]:
    """Return every process of the graph for one robot.

    Args:
        robot: The arm; its file names cameras and controller topics.
        simulated: Whether the simulator stands in for cameras, arm and drivers.
    """
    images = tuple(camera_topics(robot, c.name)[0] for c in robot.cameras)
    infos = tuple(camera_topics(robot, c.name)[1] for c in robot.cameras)
    safety = Process(
        node='safety_filter',
        executable='safety_filter_node',
        module='vla_ros.nodes.safety_filter_node',
        parameters=(
            'robot',
            'safety',
            'scene',
            'dry_run',
            'speed_scale',
            'preflight',
            *COMMON,
        ),
        subscribes=(
            JOINT_STATES,
            TRAJECTORY,
            OVERRIDE,
            OBSTACLES,
            ESTOP,
            *enable_topics(robot),
            *hold_topics(robot),
        ),
        publishes=(
            *command_topics(robot),
            *last_resort_topics(robot),
            DRY_RUN_COMMAND,
            EXECUTION_STATE,
            SAFETY_STATUS,
            DIAGNOSTICS,
        ),
        services=(RESET_SERVICE,),
        nice=SAFETY_NICE,
    )
    forwarder = Process(
        node='forwarder',
        executable='forwarder_node',
        module='vla_ros.nodes.forwarder_node',
        parameters=('robot', 'safety', *COMMON),
        subscribes=(
            *forwarded_topics(robot),
            *feedback_topics(robot),
        ),
        publishes=(
            *(t for t in controller_topics(robot) if t not in command_topics(robot)),
            *hold_topics(robot),
        ),
        services=(FORWARDER_RESET_SERVICE,),
        nice=SAFETY_NICE,
    )
    policy = Process(
        node='policy',
        executable='policy_node',
        module='vla_ros.nodes.policy_node',
        parameters=('robot', 'policy', 'seed', *COMMON),
        subscribes=(
            *images,
            JOINT_STATES,
            INSTRUCTION,
            EXECUTION_STATE,
            SAFETY_STATUS,
            TASK_STATE,
        ),
        publishes=(TRAJECTORY, CHUNK, POLICY_STATUS),
        services=(START_SERVICE, STOP_SERVICE),
        actions=(RUN_ACTION,),
        nice=POLICY_NICE,
        critical=False,
        interpreter='policy_python',
    )
    sim = Process(
        node='sim',
        executable='sim_node',
        module='vla_ros.nodes.sim_node',
        parameters=('robot', 'suite', 'task', 'seed', 'autostart'),
        subscribes=controller_topics(robot),
        publishes=(CLOCK, JOINT_STATES, *images, *infos, OBSTACLES, TASK_STATE, DIAGNOSTICS),
        services=(WORLD_SERVICE,),
        actions=controller_actions(robot),
        nice=SIM_NICE,
        simulation_only=True,
    )
    markers = Process(
        node='markers',
        executable='markers_node',
        module='vla_ros.nodes.markers_node',
        parameters=('robot', 'safety', 'scene', *COMMON),
        subscribes=(JOINT_STATES, SAFETY_STATUS, EXECUTION_STATE, OBSTACLES),
        publishes=(MARKERS,),
        nice=MARKERS_NICE,
        critical=False,
        wanted='markers',
    )
    preflight = Process(
        node='preflight',
        executable='preflight_node',
        module='vla_ros.nodes.preflight_node',
        parameters=('robot', 'policy', 'safety', *COMMON),
        subscribes=(),  # it listens to all, and asks for nothing that changes who is heard
        publishes=(),
        critical=False,
        wanted='preflight',
    )
    arm = (sim,) if simulated else ()
    driver = (forwarder,) if robot.forwarded else ()
    heard = (sim, *driver, safety, policy)
    named = {topic.name: topic for p in heard for topic in (*p.subscribes, *p.publishes)}
    recorder = Process(
        node='recorder',
        executable='bag_recorder',
        module='vla_ros.nodes.bag_recorder',
        parameters=('robot', 'policy', 'safety', 'bag', 'images', *COMMON),
        subscribes=tuple(named.values()),
        publishes=(DIAGNOSTICS,),
        nice=RECORDER_NICE,
        critical=False,
        wanted='record',
    )
    return (*arm, *driver, safety, policy, preflight, markers, recorder)


def recorded(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return every topic that a recording of a robot holds; drawings for people are not."""
    return next(p for p in processes(robot, simulated=True) if p.node == 'recorder').subscribes


# Of what runs beside a recording that is played.
REPLAY_PARAMETERS = {'dry_run': True, 'preflight': False, 'use_sim_time': True}


def replay_processes(robot: RobotSpec) -> tuple[Process, ...]:
    """Return what runs beside a recording that is played: it commands nothing."""
    return tuple(
        p for p in processes(robot, simulated=False) if p.node in ('safety_filter', 'policy')
    )


def replay_arguments() -> tuple[Argument, ...]:
    """Return the launch arguments of a recording that is played."""
    names = ('bag', 'robot', 'policy', 'safety', 'scene', 'seed', 'speed_scale', 'autostart')
    return tuple(ARGUMENTS[name] for name in (*names, 'policy_python'))


def record_arguments() -> tuple[Argument, ...]:
    """Return the launch arguments of the recorder that ROS 2 brings."""
    return ARGUMENTS['robot'], Argument('bag', 'bag', 'Folder of the bag.')


def arm_arguments(**defaults: bool) -> tuple[Argument, ...]:
    """Return the launch arguments of an arm that another process moves.

    Args:
        **defaults: Those that differ from `vla up`: a physical arm is commanded on request only.
    """
    robot = ('suite', 'task')  # of the simulator
    return tuple(
        replace(argument, default=defaults.get(name, argument.default))
        for name, argument in ARGUMENTS.items()
        if name not in robot
    )


def replayed(robot: RobotSpec) -> tuple[Topic, ...]:
    """Return what is played: what those processes hear and none of them says."""
    heard = replay_processes(robot)
    said = {topic.name for p in heard for topic in p.publishes}
    topics = {topic.name: topic for p in heard for topic in p.subscribes}
    return tuple(topic for name, topic in topics.items() if name not in said)


def description_processes(robot: RobotSpec) -> tuple[Process, ...]:
    """Return what shows a robot beside its links: the process that draws."""
    drawing = (p for p in processes(robot, simulated=False) if p.node == 'markers')
    return tuple(replace(process, wanted='') for process in drawing)


def description_arguments() -> tuple[Argument, ...]:
    """Return the launch arguments of what shows a robot."""
    return tuple(ARGUMENTS[name] for name in ('robot', 'safety', 'scene', *COMMON))


def shown(robot: RobotSpec) -> tuple[str, ...]:
    """Return the relative topics that the configuration of RViz names from the root."""
    images = (camera_topics(robot, camera.name)[0].name for camera in robot.cameras)
    return MARKERS.name, ROBOT_DESCRIPTION, *images


def full_name(topic: Topic, namespace: str = '') -> str:
    """Return the name of a topic in a namespace such as '/left'."""
    return topic.name if topic.name.startswith('/') else f'{namespace}/{topic.name}'
