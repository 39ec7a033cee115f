"""Each seeded fault is found, under its name, with a cure; a healthy system has no finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import re
from typing import Any

from healthy import (
    ARM,
    endpoints,
    facts,
    HOME,
    IMAGES,
    machine,
    NOW,
    PICTURE,
    ROBOT,
    SECONDS,
    stream,
    view,
    WANTED,
)
from healthy import end as endpoint
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros import graph, paths
from vla_ros.preflight.controllers import judge_controllers, named
from vla_ros.preflight.facts import Controller, Endpoint, Facts, Lens, Peer, Stream
from vla_ros.preflight.finding import Finding
from vla_ros.preflight.joints import bounds
from vla_ros.preflight.judge import judge
from vla_ros.preflight.machine import Accelerator, judge_machine, Machine, Profile
from vla_ros.preflight.streams import rate
from vla_ros.preflight.topics import mismatch
from vla_ros.robot import Enable, load_robot
from vla_ros.status import PolicyPhase

SCENE = IMAGES['scene']
Seed = Callable[[], Facts]


def with_ends(topic: graph.Topic, change: Callable[[Endpoint], Endpoint | None]) -> Facts:
    """Return healthy facts with every end of a topic changed; None takes it away."""
    known = endpoints()
    name = graph.full_name(topic)
    known[name] = tuple(new for old in known[name] if (new := change(old)) is not None)
    return facts(endpoints=known)


def with_more(topic: graph.Topic, *more: Endpoint) -> Facts:
    known = endpoints()
    name = graph.full_name(topic)
    known[name] = (*known.get(name, ()), *more)
    return facts(endpoints=known)


def with_stream(topic: graph.Topic, made: Stream) -> Facts:
    return facts(streams={**facts().streams, topic.name: made})


def with_place(change: Callable[[np.ndarray], np.ndarray], **also: Any) -> Facts:
    joints = facts().joints
    return facts(joints=replace(joints, positions=change(joints.positions.copy())), **also)


def with_view(camera: str, **changes: Any) -> Facts:
    return facts(views={**facts().views, camera: replace(view(camera), **changes)})


def with_pictures(**changes: Any) -> Facts:
    pictures = tuple(replace(p, **changes) for p in view('scene').pictures)
    return with_view('scene', pictures=pictures)


def with_peer(node: str, peer: Peer | None) -> Facts:
    peers = {**facts().peers, node: peer}
    return facts(peers={name: p for name, p in peers.items() if p is not None})


def ticking(still: bool = False, **peers: bool) -> Facts:
    """Return facts of nodes that follow /clock, or do not."""
    time = stream(200.0, clock=True)
    if still:
        time = replace(time, stamps=np.full_like(time.stamps, NOW))
    said = {name: replace(p, use_sim_time=True) for name, p in facts().peers.items()}
    said |= {f'/{name}': Peer(value, 'active') for name, value in peers.items()}
    clocked = {k: replace(s, clock=s.heard) for k, s in facts().streams.items()}
    more = with_more(graph.CLOCK, endpoint('/gazebo', graph.CLOCK, True))
    return replace(more, peers=said, streams={**clocked, graph.CLOCK.name: time})


def swap(place: np.ndarray, one: int, other: int) -> np.ndarray:
    place[:, [one, other]] = place[:, [other, one]]
    return place


def turned(topic: graph.Topic) -> Facts:
    made = facts().streams[topic.name]
    stamps = made.stamps.copy()
    stamps[1::2] -= 0.5
    return with_stream(topic, replace(made, stamps=stamps))


def shifted(topic: graph.Topic, seconds: float) -> Facts:
    made = facts().streams[topic.name]
    return with_stream(topic, replace(made, stamps=made.stamps + seconds))


def repeated(topic: graph.Topic) -> Facts:
    made = facts().streams[topic.name]
    return with_stream(topic, replace(made, stamps=np.full_like(made.stamps, NOW)))


def status(**changes: Any) -> Facts:
    return facts(safety=replace(facts().safety, **changes))


def mind(**changes: Any) -> Facts:
    return facts(policy=replace(facts().policy, **changes))


def renamed(old: str, new: str) -> Facts:
    joints = facts().joints
    names = tuple(new if name == old else name for name in ROBOT.joint_names)
    place = joints.positions.copy()
    place[:, ROBOT.joint_names.index(old)] = np.nan
    return facts(joints=replace(joints, names=(names,), positions=place))


def silent_velocities() -> Facts:
    return facts(joints=replace(facts().joints, velocities=np.full_like(place(), np.nan)))


def place() -> np.ndarray:
    return facts().joints.positions


STREAM = 'std_msgs/msg/Float64MultiArray'
ODD = 'sensor_msgs/msg/CompressedImage'
JTC = facts().controllers
DEAF = Endpoint('/viewer', SCENE.type, False, reliable=True, transient_local=False)
LATE = dict.fromkeys(('transport', 'preprocess', 'inference'), (0.6, 1.4, 2.0))

# what is wrong -> facts, the name and the verdict under which it must be found, and words of it
FAULTS: dict[str, tuple[Seed, str, str, str]] = {
    'the safety filter is not started': (
        lambda: with_peer('/safety_filter', None), 'nodes', 'bad', 'vla up'),
    'the safety filter is inactive': (
        lambda: with_peer('/safety_filter', Peer(False, 'inactive')), 'nodes', 'bad', 'lifecycle'),
    'two systems run': (
        lambda: with_peer('/policy', Peer(False, 'active', 2)), 'nodes', 'bad', 'ROS_DOMAIN_ID'),
    'the policy hangs while it starts': (
        lambda: with_peer('/policy', Peer(None, None)), 'nodes', 'warn', 'its log'),
    'a camera is missing': (
        lambda: with_ends(SCENE, lambda e: None if e.publishes else e), 'topics', 'bad', 'driver'),
    'a camera is silent': (
        lambda: with_stream(SCENE, Stream(*np.zeros((3, 0)))), 'topics', 'bad', 'silent'),
    'camera_info is missing': (
        lambda: with_ends(graph.camera_topics(ROBOT, 'wrist')[1], lambda e: None),
        'topics', 'warn', 'camera_info'),
    'joint states are missing': (
        lambda: with_ends(graph.JOINT_STATES, lambda e: None if e.publishes else e),
        'topics', 'bad', '/joint_states'),
    'a camera has another type': (
        lambda: with_ends(SCENE, lambda e: replace(e, type=ODD) if e.publishes else e),
        'types', 'bad', ODD),
    'the controller is of another kind': (
        lambda: with_ends(
            ARM, lambda e: e if e.publishes else replace(e, type=STREAM)),
        'types', 'bad', 'driver:'),
    'an obstacle publisher keeps no history': (
        lambda: with_more(
            graph.OBSTACLES,
            endpoint('/perception', graph.OBSTACLES, True, transient_local=False)),
        'qos', 'bad', 'transient local'),
    'an operator publishes best effort': (
        lambda: with_more(
            graph.OVERRIDE, endpoint('/planner', graph.OVERRIDE, True, reliable=False)),
        'qos', 'bad', 'best effort is offered'),
    'a viewer asks for reliable pictures': (
        lambda: with_more(SCENE, DEAF), 'qos', 'warn', '/viewer'),
    'another node commands the arm': (
        lambda: with_more(ARM, endpoint('/teleop', ARM, True)), 'publishers', 'bad', '/teleop'),
    'two policies publish trajectories': (
        lambda: with_more(graph.TRAJECTORY, endpoint('/b/policy', graph.TRAJECTORY, True)),
        'publishers', 'bad', '/b/policy'),
    'two nodes publish joint states': (
        lambda: with_more(graph.JOINT_STATES, endpoint('/gui', graph.JOINT_STATES, True)),
        'publishers', 'bad', '/gui'),
    'no controller listens': (
        lambda: with_ends(ARM, lambda e: e if e.publishes else None),
        'controller link', 'bad', 'nobody listens'),
    'a camera runs at half its rate': (
        lambda: with_stream(SCENE, stream(15.0, 0.03)), 'rates', 'warn', 'at 15.'),
    'a camera runs at twice its rate': (
        lambda: with_stream(SCENE, stream(60.0, 0.03)), 'rates', 'warn', '30 Hz'),
    'joint states are too slow': (
        lambda: with_stream(graph.JOINT_STATES, stream(10.0)), 'rates', 'bad', '30 Hz or more'),
    'joint states are not stamped': (
        lambda: with_stream(graph.JOINT_STATES, replace(
            stream(200.0), stamps=np.zeros(int(200 * SECONDS)))), 'stamps', 'bad', 'not stamped'),
    'stamps of a camera go back': (lambda: turned(SCENE), 'stamps', 'bad', 'back in time'),
    'stamps of a camera stand still': (lambda: repeated(SCENE), 'stamps', 'bad', 'repeats'),
    'joint states come from the past': (
        lambda: shifted(graph.JOINT_STATES, -2.0), 'clock skew', 'bad', 'chrony'),
    'joint states come from the future': (
        lambda: shifted(graph.JOINT_STATES, 2.0), 'clock skew', 'bad', 'ahead'),
    'pictures are slow': (lambda: shifted(SCENE, -0.3), 'clock skew', 'warn', '0.3'),
    'one node follows another clock': (
        lambda: ticking(policy=False), 'sim time', 'bad', 'the same use_sim_time'),
    'the clock is paused': (lambda: ticking(still=True), 'sim time', 'bad', 'stands still'),
    'nobody publishes the clock': (
        lambda: facts(peers={n: Peer(True, 'active') for n in facts().peers}),
        'sim time', 'bad', 'silent'),
    'a joint has another name': (
        lambda: renamed('panda_joint3', 'panda_joint_3'), 'joint names', 'bad',
        "Did you mean 'panda_joint_3'"),
    'the controller has its joints in another order': (
        lambda: facts(controller_joints={'panda_arm_controller': ROBOT.arm_joints[:-1]}),
        'joint order', 'bad', 'joints:'),
    'joints are in degrees': (
        lambda: with_place(lambda q: np.hstack([np.rad2deg(q[:, :-1]), q[:, -1:]])),
        'joint values', 'bad', 'degrees'),
    'the gripper is in millimetres': (
        lambda: with_place(lambda q: q * np.array([*np.ones(7), 1e3])),
        'joint values', 'bad', 'millimetres'),
    'two joint names are exchanged': (
        lambda: with_place(lambda q: swap(q, 3, 5)), 'joint values', 'bad',
        'panda_joint4 and panda_joint6 exchanged'),
    'a joint is outside its limits': (
        lambda: with_place(lambda q: q + np.array([0.0, 2.2, *np.zeros(6)])),
        'joint values', 'bad', 'panda_joint2'),
    'an encoder says NaN': (
        lambda: with_place(lambda q: np.where(np.arange(len(q))[:, None] == 5, np.nan, q)),
        'joint values', 'bad', 'not finite'),
    'velocities are in degrees': (
        lambda: facts(joints=replace(
            facts().joints, velocities=np.rad2deg(facts().joints.velocities))),
        'joint velocities', 'warn', '57.'),
    'velocities are missing': (silent_velocities, 'joint velocities', 'bad', 'broadcaster'),
    'a camera has the wrong size': (
        lambda: with_pictures(width=1280, height=720), 'cameras', 'bad', '1280x720'),
    'a camera has the wrong encoding': (
        lambda: with_pictures(problem="unknown image encoding 'yuv422'"),
        'cameras', 'bad', 'yuv422'),
    'a camera is black': (
        lambda: with_pictures(brightest=3, contrast=0.2), 'cameras', 'bad', 'black'),
    'a camera is flat': (lambda: with_pictures(contrast=0.0), 'cameras', 'bad', 'flat'),
    'a camera is frozen while the arm moves': (
        lambda: with_pictures(digest=7), 'cameras', 'bad', 'the arm moved'),
    'camera_info is of another size': (
        lambda: with_view('wrist', lens=Lens(1280, 720, 500.0)), 'cameras', 'warn', '1280x720'),
    'camera_info is empty': (
        lambda: with_view('wrist', lens=Lens(640, 480, 0.0)), 'cameras', 'warn', 'calibrate'),
    'camera_info contradicts the robot file': (
        lambda: with_view('wrist', lens=Lens(640, 480, 900.0)), 'cameras', 'warn', 'fovy'),
    'a controller is not loaded': (
        lambda: facts(controllers=JTC[1:]), 'controllers', 'bad', 'not loaded'),
    'a controller is inactive': (
        lambda: facts(controllers=(replace(JTC[0], state='inactive'), JTC[1])),
        'controllers', 'bad', 'set_controller_state'),
    'a controller has another type': (
        lambda: facts(controllers=(
            Controller(JTC[0].name, 'velocity_controllers/JointGroupVelocityController', 'active'),
            JTC[1])),
        'controllers', 'bad', 'driver:'),
    'a fault is latched': (
        lambda: status(level=3, reason='tracking_lost', latched=True),
        'safety', 'bad', 'vla/reset'),
    'obstacles cannot be used': (
        lambda: status(reason='obstacle_invalid'), 'safety', 'warn', 'valid obstacles'),
    'the emergency stop is pressed': (lambda: facts(estop=True), 'operator', 'warn', 'release'),
    'the control loop is late': (
        lambda: status(missed_ticks=100), 'control loop', 'warn', '10.0 %'),
    'the policy has failed': (
        lambda: mind(phase=PolicyPhase.ERROR, message='no weights'),
        'policy', 'bad', 'no weights'),
    'the policy waits for a picture': (
        lambda: mind(phase=PolicyPhase.WAITING_FOR_INPUT), 'policy', 'warn', 'fresh'),
    'inference outlasts a chunk': (lambda: mind(**LATE), 'latency', 'bad', 'a whole chunk'),
    'inference takes most of a chunk': (
        lambda: mind(inference=(0.5, 0.9, 1.0)), 'latency', 'warn', 'inference takes the most'),
}  # fmt: skip

SMALL = Profile('small.xml', 512 * 1024, 8 * 2**20, 8 * 2**20)
NARROW = Profile('narrow.xml', 32 * 2**20, 64 * 1024, 8 * 2**20)
MACHINES: dict[str, tuple[Machine, str, str, str]] = {
    'no DDS profile': (machine(profile=None), 'dds profile', 'bad', 'FASTDDS_DEFAULT_PROFILES'),
    'a profile with small segments': (machine(profile=SMALL), 'dds profile', 'bad', '3686400'),
    'a profile with small messages': (machine(profile=NARROW), 'dds profile', 'bad', '921600'),
    'a driver without profile': (
        machine(unprofiled=('usb_cam (pid 7)',)), 'dds profile', 'warn', 'usb_cam'),
    'small socket buffers': (
        machine(receive_buffer=212992), 'socket buffers', 'warn', 'sysctl -w net.core.rmem_max'),
    'little shared memory': (
        machine(shared_free=64 * 2**20), 'shared memory', 'warn', '--shm-size'),
    'no shared memory': (machine(shared_free=2**20), 'shared memory', 'bad', '1 MiB'),
    'a domain that does not exist': (machine(domain='300'), 'domain', 'bad', '0 to 232'),
    'a domain in the ports of Linux': (machine(domain='150'), 'domain', 'warn', '0 to 101'),
    'discovery off': (machine(discovery='OFF'), 'domain', 'bad', 'LOCALHOST'),
    'a discovery range that does not exist': (
        machine(discovery='HOME'), 'domain', 'warn', 'SUBNET'),
    'too little memory': (machine(memory_free=10**6), 'model memory', 'bad', 'dtype'),
    'a full disk': (machine(disk_free=10**9), 'disk', 'warn', 'images:=jpeg'),
    'one core': (machine(cores=1), 'processor', 'warn', 'vla serve'),
    'a slow governor': (machine(governor='powersave'), 'processor', 'warn', 'cpupower'),
    'no priority': (machine(fifo=False), 'processor', 'warn', 'rtprio'),
}  # fmt: skip


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


def test_a_healthy_system_has_no_finding():
    findings = judge(facts(), WANTED, machine())
    assert not problems(findings)
    assert 'unseen' not in {finding.verdict for finding in findings}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_of_a_system_is_found(fault):
    seed, name, verdict, words = FAULTS[fault]
    check(problems(judge(seed(), WANTED, machine())), name, verdict, words)


@pytest.mark.parametrize('fault', MACHINES)
def test_a_fault_of_a_machine_is_found(fault):
    made, name, verdict, words = MACHINES[fault]
    check(problems(judge(facts(), WANTED, made)), name, verdict, words)


def check(found: list[Finding], name: str, verdict: str, words: str) -> None:
    """Find it under its name, with its cure, and cry no wolf beside it."""
    here = [finding for finding in found if finding.name == name]
    assert here and {finding.verdict for finding in here} == {verdict}, found
    assert words in ' '.join(map(str, here))
    assert all(finding.cure and finding.expected for finding in found)
    assert len({finding.name for finding in found}) <= 2, found


def test_a_dead_man_switch_that_nobody_presses_is_told():
    wanted = replace(WANTED, robot=replace(ROBOT, enable=Enable(0.2)))
    known = {**endpoints(), '/vla/enable': ()}
    for said, words in ((None, 'silent'), (False, 'released'), (True, None)):
        found = problems(judge(facts(endpoints=known, enable=said), wanted))
        told = [f.found for f in found if f.name == 'operator']
        assert (words in told[0]) if words else not told


def test_a_gpu_is_judged_by_its_free_memory():
    wanted = replace(WANTED, policy=replace(WANTED.policy, device='cuda'))
    none, small, large = None, Accelerator('H', 10**6), Accelerator('H', 10**10)
    for accelerator, good in ((none, False), (small, False), (large, True)):
        found = problems(judge(facts(), wanted, machine(accelerator=accelerator)))
        assert not found if good else [f.name for f in found] == ['model memory']


def test_the_gate_lets_an_inactive_filter_pass_and_nothing_else():
    gate = replace(WANTED, gate=True)
    for node, good in (('/safety_filter', True), ('/policy', False)):
        found = problems(judge(with_peer(node, Peer(False, 'inactive')), gate))
        assert (not found) == good


def test_a_still_scene_is_no_frozen_camera_where_it_is_drawn():
    still = with_place(lambda q: np.tile(HOME, (len(q), 1)))
    frozen = replace(still, views=with_pictures(digest=7).views)
    assert [f.verdict for f in problems(judge(frozen, WANTED))] == ['warn']
    known = {**endpoints(), '/clock': (endpoint('/sim', graph.CLOCK, True),)}
    assert not problems(judge(replace(frozen, endpoints=known), WANTED))


def test_a_simulator_with_a_clock_of_its_own_is_told_how_to_be_followed():
    """Stamps of a simulated day, nodes that look at the wall."""
    ago = 1.0e9
    streams = {
        name: replace(s, stamps=s.stamps - ago, clock=s.heard - ago)
        for name, s in ticking().streams.items()
    }
    plain = {name: replace(p, use_sim_time=False) for name, p in facts().peers.items()}
    found = problems(judge(replace(ticking(), streams=streams, peers=plain), WANTED))
    assert {f.name for f in found} == {'clock skew'}
    assert all('use_sim_time true' in f.cure for f in found)
    assert not problems(judge(replace(ticking(), streams=streams), WANTED))


@given(st.floats(5.0, 500.0), st.floats(0.0, 0.4), st.integers(0, 2**32 - 1))
def test_the_rate_survives_loss_and_a_busy_listener(hertz, loss, seed):
    """Stamps tell the rate although messages are lost and come late and in bursts."""
    rng = np.random.default_rng(seed)
    count = 200
    stamps = NOW + np.arange(count) / hertz
    kept = np.sort(rng.choice(count, int(count * (1.0 - loss)), replace=False))
    late = np.maximum.accumulate(stamps[kept] + rng.exponential(1.0, len(kept)))
    made = Stream(stamps[kept], late, np.full(len(kept), np.nan))
    assert rate(made, 0.25) == pytest.approx(hertz, rel=0.01)


@given(*[st.booleans()] * 4)
def test_qos_is_judged_as_the_middleware_does(a, b, c, d):
    qos = pytest.importorskip('rclpy.qos')
    from vla_ros.ros.qos import profile

    offered, requested = graph.Qos(a, b), graph.Qos(c, d)
    works, _ = qos.qos_check_compatible(profile(offered), profile(requested))
    ends = [Endpoint('/n', 't', True, q.reliable, q.transient_local) for q in (offered, requested)]
    assert bool(mismatch(*ends)) == (works == qos.QoSCompatibility.ERROR)


def test_a_robot_in_a_namespace_is_judged_by_its_own_topics():
    absolute = {graph.CLOCK.name, graph.DIAGNOSTICS.name}
    known = {
        name if name in absolute else f'/left{name}': tuple(
            replace(end, node=f'/left{end.node}') for end in ends
        )
        for name, ends in endpoints().items()
    }
    peers = {f'/left{name}': peer for name, peer in facts().peers.items()}
    left = facts(namespace='/left', endpoints=known, peers=peers)
    assert not problems(judge(left, WANTED))
    elsewhere = problems(judge(replace(left, namespace='/right'), WANTED))
    assert {'nodes', 'topics', 'controller link'} <= {finding.name for finding in elsewhere}


def test_a_late_deadline_is_a_mismatch():
    late = Endpoint('/n', 't', True, True, False)
    assert 'deadline' in mismatch(late, replace(late, deadline=0.1))
    assert not mismatch(replace(late, deadline=0.1), late)


def test_what_is_missing_stops_no_look():
    """Nothing at all was heard: every look answers, and says what to start."""
    findings = judge(Facts(SECONDS), WANTED, Machine())
    names = {finding.name for finding in findings if finding.verdict == 'bad'}
    assert {'nodes', 'topics', 'controller link', 'dds profile'} <= names
    assert all(re.search(r'\w', finding.found) for finding in findings)
    machine_names = {finding.name for finding in judge_machine(Machine(), ROBOT, WANTED.policy)}
    good = {finding.name for finding in findings if finding.verdict == 'ok'}
    assert good <= machine_names, 'what nobody heard is not called well'


def test_a_streamed_arm_is_judged_by_the_order_of_its_controller():
    wanted = replace(WANTED, robot=load_robot(paths.find('robots', 'panda_streaming')))
    backwards = {'panda_position_controller': ROBOT.arm_joints[::-1]}
    found = judge(facts(controller_joints=backwards), wanted)
    assert [f.verdict for f in found if f.name == 'joint order'] == ['bad']
    backwards = {'panda_arm_controller': ROBOT.arm_joints[::-1]}
    named = judge(facts(controller_joints=backwards), WANTED)
    assert [f.verdict for f in named if f.name == 'joint order'] == ['ok']


def test_an_action_that_nobody_serves_is_told():
    wanted = replace(WANTED, robot=load_robot(paths.find('robots', 'panda_action')))
    statuses = graph.action_statuses(wanted.robot)
    assert len(statuses) == 2
    served = {graph.full_name(topic): (endpoint('/manager', topic, True),) for topic in statuses}
    for missing in (None, *served):
        known = {name: ends for name, ends in served.items() if name != missing}
        found = judge(facts(endpoints=endpoints() | known), wanted)
        link = [f.found for f in found if f.name == 'controller link' and f.verdict == 'bad']
        action = '' if missing is None else missing.removesuffix('/_action/status')
        assert link == ([f'nobody serves {action}'] if missing else [])


def test_every_arm_and_gripper_of_a_pair_is_judged():
    pair = replace(WANTED, robot=load_robot(paths.find('robots', 'dual_panda')))
    low, high = bounds(pair)
    assert len(low) == len(high) == len(pair.robot.joint_names) == 16
    assert ((pair.robot.ready > low) & (pair.robot.ready < high)).all()
    sides = 'left_panda', 'right_panda'
    wanted = [f'{side}_{part}_controller' for side in sides for part in ('arm', 'gripper')]
    assert [one.name for one in named(pair)] == wanted
    loaded = tuple(Controller(name, JTC[0].type, 'active') for name in wanted[:-1])
    (found,) = judge_controllers(facts(controllers=loaded), pair)
    assert found.verdict == 'bad' and found.found.startswith(f'{wanted[-1]} is not loaded')


def test_an_arm_without_a_gripper_has_bounds_for_its_joints_alone():
    bare = ROBOT.with_arm(gripper=None, driver=replace(ROBOT.driver, gripper_topic=''))
    low, high = bounds(replace(WANTED, robot=bare))
    assert len(low) == len(high) == bare.dof == 7


def test_what_is_no_controller_of_ros2_control_is_not_asked_for():
    servo = replace(WANTED, robot=load_robot(paths.find('robots', 'panda_servo')))
    assert named(servo) == ()
    assert [one.name for one in named(WANTED)] == [c.name for c in JTC]


def test_pictures_fit_their_robot_file():
    assert (PICTURE.width, PICTURE.height) == (ROBOT.cameras[0].width, ROBOT.cameras[0].height)
