"""The policy node through real topics, services and its action, against a scripted cell."""

from __future__ import annotations

import contextlib
from dataclasses import replace
import itertools
import os
import threading
from time import monotonic, sleep
import weakref

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from vla_ros import graph, paths  # noqa: E402
from vla_ros.bootstrap import prepare_ros  # noqa: E402
from vla_ros.errors import NodeError, UnknownNameError, VlaError  # noqa: E402
from vla_ros.nodes import loading  # noqa: E402
from vla_ros.nodes.client import Client  # noqa: E402
from vla_ros.nodes.policy_node import PolicyNode  # noqa: E402
from vla_ros.robot import load_robot, RobotSpec  # noqa: E402
from vla_ros.ros import convert  # noqa: E402
from vla_ros.ros.qos import interface, profile  # noqa: E402
from vla_ros.status import (  # noqa: E402
    ExecutionState,
    PolicyPhase,
    RunCode,
    SafetyStatus,
    TaskStatus,
)
from vla_ros.types import Frame, JointState  # noqa: E402

ROBOT = load_robot(paths.find('robots', 'panda'))
PACKED = replace(
    ROBOT, cameras=tuple(replace(camera, transport='compressed') for camera in ROBOT.cameras)
)
POLICY = """
name: seeing_hold
adapter: hold
images: [{camera: scene, size: 96}, {camera: wrist, size: 96}]
state: []
action: [{kind: joint_position, unit: rad}, {kind: gripper, unit: open_fraction}]
step: 0.02
horizon: 20
replan_steps: 5
"""
WAIT = 30.0  # [s] bound of every wait; on a free machine nothing here takes a second


def task(done: bool) -> TaskStatus:
    """Return the simulator's verdict."""
    return TaskStatus(0.0, 'tabletop', 'reach', 'reach it', 0, 0, 9, done, done, '', '', 0.0)


class Cell(Node):
    """Arm, cameras and safety filter, as far as the policy node can tell."""

    def __init__(self, context: Context, robot: RobotSpec = ROBOT) -> None:
        super().__init__('cell', context=context)
        self.robot = robot
        self.cameras = {'scene', 'wrist'}
        self.position = np.append(ROBOT.home, ROBOT.gripper.open)
        self.names = ROBOT.joint_names
        self.safety = SafetyStatus(0.0, 0, '', 'nominal', False, min_barrier=0.1)
        self.task = task(done=False)
        self.pictures = dict.fromkeys(('scene', 'wrist'), 0)
        self.mangle = lambda picture: picture
        self.trajectories: list = []
        self.chunks: list = []
        self._accepted = None
        self._out = {
            topic.name: self.create_publisher(
                interface(topic.type), topic.name, profile(topic.qos)
            )
            for topic in (
                graph.JOINT_STATES,
                graph.EXECUTION_STATE,
                graph.SAFETY_STATUS,
                graph.TASK_STATE,
                *(graph.camera_topics(robot, name)[0] for name in self.pictures),
            )
        }
        for topic, callback in (
            (graph.TRAJECTORY, self._trajectory),
            (graph.CHUNK, lambda m: self.chunks.append(convert.provenance_from_msg(m))),
        ):
            self.create_subscription(
                interface(topic.type), topic.name, callback, profile(topic.qos)
            )
        self._image = np.zeros((480, 640, 3), np.uint8)
        self.simulated: float | None = None  # [s] what the clock shows; None: the wall's
        self.runs = True  # that clock
        self._clock_out = self.create_publisher(
            interface(graph.CLOCK.type), graph.CLOCK.name, profile(graph.CLOCK.qos)
        )
        self.create_timer(1 / 100, self._joints)
        self.create_timer(1 / 30, self._picture)
        self.create_timer(1 / 20, self._status)

    def now(self) -> float:
        if self.simulated is not None:
            return self.simulated
        return self.get_clock().now().nanoseconds * 1e-9

    def send(self, topic: graph.Topic, message) -> None:
        self._out[topic.name].publish(message)

    def _trajectory(self, message) -> None:
        trajectory = convert.trajectory_from_msg(message, ROBOT.joint_names)
        self.trajectories.append(trajectory)
        self._accepted = trajectory.stamp if len(trajectory.times) else None

    def _joints(self) -> None:
        if self.simulated is not None:
            self.simulated += 0.01 if self.runs else 0.0
            self._clock_out.publish(convert.clock_to_msg(self.simulated))
        now = self.now()
        state = JointState(now, self.position, 0.0 * self.position)
        self.send(graph.JOINT_STATES, convert.joint_state_to_msg(state, self.names))
        state = ExecutionState(
            now, now, 1.0, self._accepted, self._accepted or 0.0, (), np.zeros(0), np.zeros(0), 0
        )
        self.send(graph.EXECUTION_STATE, convert.execution_state_to_msg(state))

    def _picture(self) -> None:
        for name in self.cameras:
            topic = graph.camera_topics(self.robot, name)[0]
            kind = self.robot.camera(name).transport
            picture = convert.frame_to_msg(Frame(self.now(), self._image), name, kind)
            self.send(topic, self.mangle(picture))
            self.pictures[name] += 1

    def _status(self) -> None:
        self.send(graph.SAFETY_STATUS, convert.safety_status_to_msg(self.safety))
        self.send(graph.TASK_STATE, convert.task_status_to_msg(self.task))


class Stage:
    """A policy node and a cell, each with an executor of its own, and a client."""

    def __init__(self, policy: str, arm: RobotSpec = ROBOT, **parameters) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        values = {'policy': policy, 'seed': 7, 'max_input_age': 0.4, **parameters}
        self.node = PolicyNode(
            context=self.context,
            parameter_overrides=[Parameter(name, value=v) for name, v in values.items()],
        )
        self.cell = Cell(self.context, arm)
        self.client = Client()
        self._executors = []
        self._threads = []
        for node in (self.node, self.cell):
            executor = SingleThreadedExecutor(context=self.context)
            executor.add_node(node)
            self._executors.append(executor)
            self._threads.append(threading.Thread(target=self._spin, args=(executor,)))

    @staticmethod
    def _spin(executor: SingleThreadedExecutor) -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    def __enter__(self) -> Stage:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.within(self.node.trigger_shutdown)
        self.client.close()
        for executor, thread in zip(self._executors, self._threads):
            executor.shutdown(WAIT)
            thread.join(WAIT)
        self.node.destroy_node()
        self.cell.destroy_node()
        self.context.try_shutdown()

    def within(self, transition) -> None:
        """Run a transition in the node's own thread, where a manager's request would run it."""
        errors: list = []

        def call() -> None:
            try:
                transition()
            except VlaError as error:
                errors.append(error)

        self.client.wait(self._executors[0].create_task(call), WAIT, 'a transition')
        if errors:
            raise errors[0]

    def set_policy(self, name: str) -> str:
        """Set the node's parameter as `ros2 param set` does; return why it is refused."""
        request = SetParameters.Request()
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
        request.parameters = [ParameterMessage(name='policy', value=value)]
        client = self.cell.create_client(SetParameters, 'policy/set_parameters')
        self.until(client.service_is_ready, 'the service')
        future = client.call_async(request)
        self.until(future.done, 'the answer')
        (result,) = future.result().results
        assert result.successful == (not result.reason)
        return result.reason

    @property
    def policy(self) -> str:
        """What the node's parameter says."""
        return self.node.get_parameter('policy').value

    def until(self, condition, what: str = 'a condition'):
        return self.client.until(condition, WAIT, what)

    def phase(self, phase: PolicyPhase):
        """Wait for a phase and return the status that reports it."""
        self.until(lambda: self.client.policy and self.client.policy.phase is phase, phase.name)
        return self.client.policy


@pytest.fixture(scope='module', autouse=True)
def domain():
    """Keep the traffic of this file on this machine and out of other tests."""
    before = dict(os.environ)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = '71'
    prepare_ros()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='module')
def policy_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('policies') / 'seeing_hold.yaml'
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def stage(policy_file):
    """Yield an active policy node that holds the pose and wants both cameras."""
    with Stage(policy_file) as stage:
        stage.within(stage.node.start)
        stage.phase(PolicyPhase.IDLE)
        yield stage


def test_an_instruction_gives_a_chunk_with_its_companion_and_every_picture_is_counted(stage):
    sleep(0.3)
    assert stage.cell.trajectories == [], 'nothing moves before an instruction'
    status = stage.client.say('reach the red cube', WAIT)
    assert status.instruction == 'reach the red cube'
    stage.until(lambda: len(stage.cell.chunks) >= 5, 'five chunks')
    trajectory, chunk = stage.cell.trajectories[0], stage.cell.chunks[0]
    np.testing.assert_allclose(trajectory.positions, np.tile(stage.cell.position, (20, 1)))
    np.testing.assert_allclose(trajectory.times, 0.02 * np.arange(1, 21), atol=1e-9)
    assert trajectory.stamp == min(chunk.input_stamps[name] for name in ('scene', 'wrist'))
    assert chunk.instruction == 'reach the red cube'
    assert set(chunk.input_ages) == {'scene', 'wrist', 'joint_states'}
    stamps = [t.stamp for t in stage.cell.trajectories]
    gaps = np.diff(stamps)
    # a chunk each 5 steps of 0.02 s, on pictures up to two periods old; a busy machine is slower
    assert gaps.min() > 0.1 - 2 / 30
    assert np.median(gaps) < 0.5


def test_the_node_has_the_topics_services_and_action_of_the_graph(stage):
    process = next(p for p in graph.processes(ROBOT, simulated=True) if p.node == 'policy')
    ros = stage.cell
    ours = {'/rosout', '/parameter_events', '/policy/transition_event'}

    def found(query) -> dict[str, str]:
        table = query('policy', '/')
        return {n: kinds[0] for n, kinds in table if n not in ours and '/_action/' not in n}

    wanted = {f'/{t.name}': t.type for t in process.publishes}
    stage.until(lambda: found(ros.get_publisher_names_and_types_by_node) == wanted, 'publishers')
    wanted = {f'/{t.name}': t.type for t in process.subscribes}
    assert found(ros.get_subscriber_names_and_types_by_node) == wanted
    services = found(ros.get_service_names_and_types_by_node).items()
    assert {(f'/{name}', kind) for name, kind in process.services} <= services
    for topic in process.publishes:
        (info,) = ros.get_publishers_info_by_topic(topic.name)
        expected = profile(topic.qos)
        assert info.qos_profile.reliability == expected.reliability
        assert info.qos_profile.durability == expected.durability


def test_every_picture_reaches_the_node_and_is_used_or_counted_as_superseded(stage):
    def received() -> dict[str, int]:
        """Stop the cameras, let the last picture arrive, and return the node's counts."""
        stage.cell.cameras.clear()
        sleep(0.3)
        return {name: stage.client.policy.sources[name].received for name in counts}

    counts = stage.cell.pictures
    stage.client.say('reach it', WAIT)
    stage.phase(PolicyPhase.RUNNING)
    before, sent = received(), dict(counts)
    stage.cell.cameras.update(counts)
    stage.until(lambda: counts['wrist'] >= sent['wrist'] + 40, '40 pictures')
    after = received()
    for name in counts:
        assert after[name] - before[name] == counts[name] - sent[name]
        used = len(stage.cell.chunks)
        assert stage.client.policy.sources[name].superseded in range(
            after[name] - used - 1, after[name]
        )


def test_an_empty_instruction_stops_and_a_new_one_takes_over(stage):
    stage.client.say('reach it', WAIT)
    stage.phase(PolicyPhase.RUNNING)
    stage.client.say('push it', WAIT)
    stage.until(lambda: stage.cell.chunks[-1].instruction == 'push it')
    stage.client.say('', WAIT)
    count = len(stage.cell.chunks)
    assert stage.phase(PolicyPhase.IDLE).instruction == ''
    stage.until(lambda: len(stage.cell.trajectories[-1].times) == 0, 'the empty trajectory')
    sleep(0.3)
    assert len(stage.cell.chunks) == count
    assert len(stage.cell.trajectories[-1].times) == 0


def test_a_new_instruction_in_mid_motion_cancels_the_old_plan_within_50_ms(stage, monkeypatch):
    policy = stage.node._policy
    infer = policy.infer

    def slow(obs, prefix=None):
        sleep(0.1)  # 5 of the 20 steps of a chunk; half of them would be too many
        return infer(obs, prefix)

    monkeypatch.setattr(policy, 'infer', slow)
    cell, delays = stage.cell, []
    for text in ('reach it', 'push it', 'lift it', 'place it', 'drop it'):
        said = cell.now()
        stage.client.say(text, WAIT)
        stage.until(lambda text=text: cell.chunks and cell.chunks[-1].instruction == text, text)
        stops = [t.stamp for t in cell.trajectories if not len(t.times) and t.stamp > said]
        delays += [stop - said for stop in stops[:1]]
    order = [chunk.instruction_id for chunk in cell.chunks]
    assert order == sorted(order), 'a chunk of an old instruction came after a newer one'
    assert len(delays) == 4, 'the plan of each old instruction is cancelled'
    assert min(delays) < 0.05  # the least, because the machine of a test may be busy


def test_an_action_goal_succeeds_when_the_simulator_says_so(stage):
    heard = []
    run = stage.client.run('reach it', 30.0, heard.append)
    stage.until(lambda: len(heard) > 3, 'feedback')
    assert not run.done
    stage.cell.task = task(done=True)
    report = run.result(WAIT)
    assert report.code is RunCode.SUCCEEDED
    assert report.chunks >= 1
    assert 0.0 < report.elapsed < WAIT
    assert heard[-1].min_barrier == pytest.approx(0.1)
    stage.until(lambda: len(stage.cell.trajectories[-1].times) == 0, 'the stop')


def test_how_an_action_goal_ends_otherwise(stage):
    assert stage.client.run('reach it', 0.3).result(WAIT).code is RunCode.TIME_LIMIT
    canceled = stage.client.run('reach it', 30.0)
    canceled.cancel()
    assert canceled.result(WAIT).code is RunCode.CANCELED
    old = stage.client.run('reach it', 30.0)
    new = stage.client.run('push it', 30.0)
    assert old.result(WAIT).code is RunCode.SUPERSEDED
    stage.cell.safety = SafetyStatus(0.0, 3, 'estop', 'the e-stop was pressed', True)
    report = new.result(WAIT)
    assert report.code is RunCode.SAFETY_STOP
    assert 'e-stop' in report.message
    with pytest.raises(NodeError, match='refused'):
        stage.client.run('   ')


def test_the_service_twins_start_and_stop(stage):
    kind = interface(graph.START_SERVICE[1])
    client = stage.cell.create_client(kind, graph.START_SERVICE[0])
    stage.until(client.service_is_ready, 'the service')
    future = client.call_async(convert.start_request('reach it', 0.0))
    stage.until(future.done, 'the answer')
    assert convert.start_answer_from_msg(future.result()) == (True, "following 'reach it'", 1)
    stage.phase(PolicyPhase.RUNNING)
    stage.client.stop()
    assert 'stop service' in stage.phase(PolicyPhase.IDLE).message


def test_a_camera_that_falls_silent_is_named_and_the_chunks_end(stage):
    stage.client.say('reach it', WAIT)
    stage.phase(PolicyPhase.RUNNING)
    stage.cell.cameras.discard('wrist')
    assert "camera 'wrist'" in stage.phase(PolicyPhase.WAITING_FOR_INPUT).message
    count = len(stage.cell.chunks)
    sleep(0.3)
    assert len(stage.cell.chunks) == count
    stage.cell.cameras.add('wrist')
    stage.phase(PolicyPhase.RUNNING)


@pytest.mark.parametrize(
    ('names', 'position', 'found'),
    [
        (('a', *ROBOT.joint_names[1:]), None, ROBOT.joint_names[0]),
        (None, np.full(8, np.nan), 'not finite'),
        (ROBOT.joint_names[:-1], np.zeros(7), ROBOT.gripper.joint),
    ],
)
def test_joint_states_that_cannot_be_used_are_told_and_nothing_is_sent(
    stage, names, position, found
):
    stage.cell.names = names or stage.cell.names
    stage.cell.position = stage.cell.position if position is None else position
    sleep(0.1)
    stage.client.say('reach it', WAIT)
    stage.until(lambda: found in stage.client.policy.message, found)
    assert stage.client.policy.phase is PolicyPhase.WAITING_FOR_INPUT
    assert stage.cell.trajectories == []


def test_deactivation_stops_the_arm_and_activation_needs_a_new_instruction(stage):
    stage.client.say('reach it', WAIT)
    stage.phase(PolicyPhase.RUNNING)
    run = stage.client.run('push it', 30.0)
    stage.within(stage.node.trigger_deactivate)
    assert run.result(WAIT).code is RunCode.CANCELED
    stage.phase(PolicyPhase.STOPPED)
    assert len(stage.cell.trajectories[-1].times) == 0
    with pytest.raises(NodeError, match='refused'):
        stage.client.run('reach it')


@pytest.mark.parametrize(
    ('parameters', 'error', 'match'),
    [
        ({'policy': 'hodl'}, UnknownNameError, "Did you mean 'hold'"),
        ({'robot': 'pandda'}, UnknownNameError, "Did you mean 'panda'"),
    ],
)
def test_what_does_not_exist_is_one_error_before_anything_moves(
    policy_file, parameters, error, match
):
    with Stage(**{'policy': policy_file, **parameters}) as stage:
        with pytest.raises(error, match=match):
            stage.within(stage.node.start)
        assert match in stage.phase(PolicyPhase.ERROR).message


def test_a_policy_of_another_camera_is_refused(tmp_path):
    path = tmp_path / 'other.yaml'
    path.write_text(POLICY.replace('camera: wrist', 'camera: ceiling'))
    with Stage(str(path)) as stage, pytest.raises(VlaError, match="camera 'ceiling'"):
        stage.within(stage.node.start)


def test_the_client_says_what_is_not_there():
    start = monotonic()
    with Client('alone') as client, pytest.raises(NodeError, match='vla up'):
        client.ready(0.3)
    assert monotonic() - start < 5.0


def test_compressed_pictures_serve_and_damaged_ones_are_named(policy_file, monkeypatch):
    def damage(picture):
        picture.data = picture.data[: len(picture.data) // 2]
        return picture

    monkeypatch.setattr('vla_ros.nodes.policy_node.load_robot', lambda path: PACKED)
    with Stage(policy_file, PACKED) as stage:
        stage.within(stage.node.start)
        stage.phase(PolicyPhase.IDLE)
        stage.client.say('reach it', WAIT)
        stage.until(lambda: len(stage.cell.chunks) >= 3, 'three chunks')
        stage.cell.mangle = damage
        message = stage.phase(PolicyPhase.ERROR).message
        assert "camera '" in message and 'cut off' in message
        stage.cell.mangle = lambda picture: picture
        stage.client.say('push it', WAIT)
        stage.until(lambda: stage.cell.chunks[-1].instruction == 'push it', 'a chunk')


def test_the_status_tells_stages_strategy_and_supply(stage):
    stage.client.say('reach it', WAIT)
    stage.until(lambda: len(stage.cell.chunks) >= 5, 'five chunks')
    stage.until(lambda: stage.client.policy.filter[0] > 0.0, 'a use of a chunk')
    status, chunk = stage.client.policy, stage.cell.chunks[-1]
    assert (status.strategy, status.execution_horizon > 0) == ('latest', True)
    assert status.supply in ('on time', 'tail', 'stretched', 'held')
    for stage_of in (status.transport, status.frame_wait, status.total, status.filter):
        assert 0.0 <= stage_of[0] <= stage_of[1] <= stage_of[2] < WAIT
    parts = (status.transport, status.frame_wait, status.preprocess, status.publish)
    assert max(part[0] for part in parts) <= status.total[2]
    oldest = max(chunk.input_ages['scene'], chunk.input_ages['wrist'])
    assert chunk.timings['transport'] + chunk.timings['frame_wait'] == pytest.approx(
        oldest, abs=1e-6
    )


def test_a_simulated_clock_that_stands_still_stops_the_chunks_and_then_they_go_on(policy_file):
    with Stage(policy_file, use_sim_time=True) as stage:
        cell = stage.cell
        cell.simulated = 50.0
        stage.within(stage.node.start)
        stage.phase(PolicyPhase.IDLE)
        stage.client.say('reach it', WAIT)
        stage.until(lambda: len(cell.chunks) >= 3, 'three chunks')
        cell.runs = False
        sleep(0.5)  # an inference may have been under way, and one picture be left
        count, stamp = len(cell.chunks), stage.client.policy.stamp
        sleep(0.5)
        assert len(cell.chunks) == count
        status = stage.client.policy
        assert status.stamp == stamp == pytest.approx(cell.simulated)
        assert all(source.age >= 0.0 for source in status.sources.values())
        for figures in (status.transport, status.frame_wait, status.total, status.filter):
            assert np.isfinite(figures).all() and min(figures) >= 0.0
        stage.client.say('push it', WAIT)
        sleep(0.5)
        assert len(cell.chunks) <= count + 1, 'the last picture serves the new sentence once'
        cell.runs, count = True, count + 1
        stage.until(lambda: len(cell.chunks) >= count + 3, 'further chunks')
        assert cell.chunks[-1].instruction == 'push it'
        stamps = [t.stamp for t in cell.trajectories]
        assert all(a < b for a, b in itertools.pairwise(stamps))


def test_a_policy_is_exchanged_while_it_runs_without_a_gap(stage, tmp_path, monkeypatch):
    faster = tmp_path / 'faster.yaml'
    faster.write_text(POLICY.replace('step: 0.02', 'step: 0.03').replace('seeing', 'faster'))
    may_load, create = threading.Event(), loading.create

    def slow(spec, robot):
        assert may_load.wait(WAIT)
        return create(spec, robot)

    monkeypatch.setattr(loading, 'create', slow)
    stage.client.say('reach it', WAIT)
    stage.until(lambda: len(stage.cell.chunks) >= 3, 'three chunks')
    before, old = stage.policy, weakref.ref(stage.node._policy)
    assert stage.set_policy(str(faster)) == ''
    stage.until(lambda: 'loading policy faster_hold' in stage.client.policy.message)
    for name in ('hold', before):  # nor back: the parameter would name what does not run
        assert 'one at a time' in stage.set_policy(name)
    count = len(stage.cell.chunks)
    stage.until(lambda: len(stage.cell.chunks) >= count + 3, 'chunks while it is loaded')
    may_load.set()
    stage.until(lambda: stage.cell.trajectories[-1].times[0] > 0.025, 'the other policy')
    stage.until(lambda: 'loading' not in stage.client.policy.message)
    assert before != stage.policy == str(faster)
    assert all(len(t.times) for t in stage.cell.trajectories), 'the arm was never stopped'
    assert {chunk.instruction_id for chunk in stage.cell.chunks} == {1}
    stage.until(lambda: old() is None, 'the end of the old policy')
    count = len(stage.cell.chunks)
    stage.until(lambda: len(stage.cell.chunks) >= count + 3, 'chunks of the other policy')


def test_a_policy_that_cannot_be_loaded_leaves_the_old_one_at_work(stage, tmp_path):
    far = tmp_path / 'far.yaml'
    text = POLICY.replace('seeing_hold', 'far').replace('adapter: hold', 'adapter: remote_openpi')
    far.write_text(text + "options: {url: 'ws://127.0.0.1:9', resize: none, timeout: 0.1}\n")
    before, policy = stage.policy, stage.node._policy
    stage.client.say('reach it', WAIT)
    stage.phase(PolicyPhase.RUNNING)
    assert stage.set_policy(str(far)) == ''
    stage.until(lambda: 'policy far is not used: policy server' in stage.client.policy.message)
    stage.until(lambda: stage.policy == before, 'the parameter of before')
    assert stage.node._policy is policy
    count = len(stage.cell.chunks)
    stage.until(lambda: len(stage.cell.chunks) >= count + 3, 'chunks of the old policy')


def test_a_policy_that_cannot_take_over_is_refused_at_once(stage, tmp_path):
    blind = tmp_path / 'blind.yaml'
    blind.write_text(POLICY.replace(', {camera: wrist, size: 96}', ''))
    before = stage.policy
    assert "Did you mean 'hold'" in stage.set_policy('hodl')
    assert 'clean the node up' in stage.set_policy(str(blind))
    assert 'cannot read' in stage.set_policy(str(tmp_path / 'nothing.yaml'))
    stage.within(stage.node.trigger_deactivate)
    assert 'while the node is active' in stage.set_policy('hold')
    assert stage.policy == before
    stage.within(stage.node.trigger_cleanup)
    assert stage.set_policy('hold') == ''
    stage.within(stage.node.trigger_configure)
    assert stage.node._spec.name == 'hold'


def test_a_deactivation_forgets_the_policy_that_is_being_loaded(stage, tmp_path, monkeypatch):
    other = tmp_path / 'other.yaml'
    other.write_text(POLICY.replace('seeing', 'other'))
    may_load, create = threading.Event(), loading.create

    def slow(spec, robot):
        assert may_load.wait(WAIT)
        return create(spec, robot)

    monkeypatch.setattr(loading, 'create', slow)
    before = stage.policy
    assert stage.set_policy(str(other)) == ''
    stage.within(stage.node.trigger_deactivate)
    assert stage.policy == before
    may_load.set()
    stage.within(stage.node.trigger_activate)
    stage.client.say('reach it', WAIT)
    stage.until(lambda: len(stage.cell.chunks) >= 3, 'three chunks')
    assert stage.node._spec.name == 'seeing_hold'
