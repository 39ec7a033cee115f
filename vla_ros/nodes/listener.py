"""Listens to a running system and tells the facts, for vla_ros.preflight to judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
import time
from typing import Any
import zlib

from lifecycle_msgs.srv import GetState
import numpy as np
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from vla_ros import graph
from vla_ros.bootstrap import prepare_ros
from vla_ros.errors import VlaError
from vla_ros.preflight import controllers
from vla_ros.preflight.facts import (
    Controller,
    Endpoint,
    Facts,
    Joints,
    Lens,
    Peer,
    Picture,
    Stream,
    View,
    Wanted,
)
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.status import PolicyStatus, SafetyStatus

try:  # of ros2_control, which not everybody has
    from controller_manager_msgs.srv import ListControllers
except ImportError:
    ListControllers = None

ANY = graph.Qos(reliable=False, depth=50)  # matches whatever a publisher offers
PART = 4  # every so many rows and columns of a picture are looked at
LOOK = 0.25  # [s] from one picture that is looked at to the next
# What nodes are asked, and by which service; one node may be asked two things of one service.
CLOCK, JOINTS = ('clock', 'get_parameters'), ('joints', 'get_parameters')
STATE, CONTROLLERS = ('state', 'get_state'), ('controllers', 'list_controllers')
POLL = 0.05  # [s] longest wait for a message
ASK = 0.5  # [s] between two looks for the services of nodes
SETTLED = 1.5  # [s] without a new publisher or subscription, after which all are known
DISCOVERY = 15.0  # [s] longest wait for that
FOREVER = 1e6  # [s] a longer deadline is none


class Listener:
    """Hears inputs, statuses and graph around a node of the caller's, who spins it.

    Its subscriptions ask for nothing, so they match every publisher and change none.
    """

    def __init__(self, node: Node, wanted: Wanted) -> None:
        """Subscribe.

        Args:
            node: In the robot's namespace.
            wanted: Whose topics.
        """
        self._node, self._wanted = node, wanted
        self._ends: list[Any] = []
        self._clients: dict[Any, Any] = {}  # by node and question
        self._flags: dict[str, bool] = {}  # said once, and valid until another is
        parts = graph.processes(wanted.robot, simulated=True)
        self._processes = [self._full(p.node) for p in parts]
        self._topics = {t for p in parts for t in (*p.subscribes, *p.publishes)}
        self._topics.update(graph.action_statuses(wanted.robot))
        self._images = {
            c.name: graph.camera_topics(wanted.robot, c.name)[0].name for c in wanted.robot.cameras
        }
        self._enable = graph.enable_topics(wanted.robot)
        self.forget()
        self._subscribe()

    def forget(self) -> None:
        """Begin anew."""
        self._began = time.monotonic()
        self._times: dict[str, list[tuple[float, float]]] = defaultdict(list)  # stamp, arrival
        self._names: dict[tuple[str, ...], None] = {}
        self._joints: list[tuple[np.ndarray, np.ndarray]] = []
        self._pictures: dict[str, list[Picture]] = defaultdict(list)
        self._due: dict[str, float] = defaultdict(float)  # [s] next look at a camera's picture
        self._lenses: dict[str, Lens] = {}
        self._safety: SafetyStatus | None = None
        self._policy: PolicyStatus | None = None
        self._answers: dict[Any, Any] = {}  # futures

    def close(self) -> None:
        """Unsubscribe."""
        for end in self._ends:
            self._node.destroy_subscription(end)
        for client in self._clients.values():
            self._node.destroy_client(client)

    def _subscribe(self) -> None:
        robot = self._wanted.robot
        self._listen(graph.CLOCK, self._on_clock)
        self._listen(graph.JOINT_STATES, self._on_joints)
        for camera in robot.cameras:
            image, info = graph.camera_topics(robot, camera.name)
            seen = partial(self._on_picture, camera.name, interface(image.type))
            self._listen(image, seen, raw=True)
            self._listen(info, partial(self._on_lens, camera.name))
        self._listen(graph.SAFETY_STATUS, self._on_safety)
        self._listen(graph.POLICY_STATUS, self._on_policy)
        for topic in (graph.ESTOP, *self._enable):
            flag = partial(self._on_flag, topic.name)
            self._listen(topic, flag)
            if topic.qos.transient_local:  # what was said before, of those who keep it
                self._listen(topic, flag, topic.qos)

    def _listen(
        self,
        topic: graph.Topic,
        callback: Callable[..., None],
        qos: graph.Qos = ANY,
        raw: bool = False,
    ) -> None:
        end = self._node.create_subscription(
            interface(topic.type), topic.name, callback, profile(qos), raw=raw
        )
        self._ends.append(end)

    # --- what comes ---

    def _note(self, topic: str, stamp: float, info: Mapping[str, int]) -> None:
        """Note when the middleware received a message: this process may get to it late."""
        self._times[topic].append((stamp, 1e-9 * info['received_timestamp'] or time.time()))

    def _on_clock(self, msg: Any, info: Mapping[str, int]) -> None:
        self._note(graph.CLOCK.name, convert.clock_from_msg(msg), info)

    def _on_joints(self, msg: Any, info: Mapping[str, int]) -> None:
        self._note(graph.JOINT_STATES.name, convert.stamp_from_msg(msg), info)
        places, speeds = convert.named_joints_from_msg(msg)
        self._names[tuple(places)] = None
        names = self._wanted.robot.joint_names
        place, speed = (
            np.array([said.get(name, np.nan) for name in names]) for said in (places, speeds)
        )
        self._joints.append((place, speed))

    def _on_picture(self, camera: str, kind: Any, data: bytes, info: Mapping[str, int]) -> None:
        """Note every stamp, and look at a picture now and then."""
        self._note(self._images[camera], convert.stamp_from_bytes(data), info)
        now = time.monotonic()
        if now < self._due[camera]:
            return
        self._due[camera] = now + LOOK
        try:
            image = convert.frame_from_msg(deserialize_message(data, kind)).image
        except VlaError as error:
            self._pictures[camera].append(Picture(0, 0, str(error)))
            return
        height, width = image.shape[:2]
        part = np.ascontiguousarray(image[::PART, ::PART])
        brightest, contrast = int(part.max(initial=0)), float(part.std())
        digest = zlib.crc32(part.tobytes())
        self._pictures[camera].append(Picture(width, height, '', brightest, contrast, digest))

    def _on_lens(self, camera: str, msg: Any) -> None:
        self._lenses[camera] = Lens(*convert.lens_from_msg(msg))

    def _on_safety(self, msg: Any) -> None:
        self._safety = convert.safety_status_from_msg(msg)

    def _on_policy(self, msg: Any) -> None:
        self._policy = convert.policy_status_from_msg(msg)

    def _on_flag(self, topic: str, msg: Any) -> None:
        self._flags[topic] = convert.flag_from_msg(msg)

    # --- what is asked ---

    def ask(self) -> None:
        """Ask nodes and controllers what they are, as soon as their services are there."""
        clock = GetParameters.Request(names=['use_sim_time'])
        for name in self._peers(self._endpoints()):
            self._ask(name, CLOCK, GetParameters, clock)
        for name in self._processes:
            self._ask(name, STATE, GetState, GetState.Request())
        joints = GetParameters.Request(names=['joints'])
        for one in controllers.named(self._wanted):
            self._ask(self._full(one.name), JOINTS, GetParameters, joints)
        if ListControllers is not None:
            manager = self._full(controllers.MANAGER)
            self._ask(manager, CONTROLLERS, ListControllers, ListControllers.Request())

    def _ask(self, node: str, question: tuple[str, str], kind: Any, request: Any) -> None:
        key = (node, question)
        if key not in self._clients:
            self._clients[key] = self._node.create_client(kind, f'{node}/{question[1]}')
        if key not in self._answers and self._clients[key].service_is_ready():
            self._answers[key] = self._clients[key].call_async(request)

    def _answer(self, node: str, question: tuple[str, str]) -> Any:
        future = self._answers.get((node, question))
        return future.result() if future is not None and future.done() else None

    # --- what is known by now ---

    def facts(self) -> Facts:
        """Return what was heard since the beginning."""
        joints = None
        if self._joints:
            place, speed = (np.array(part) for part in zip(*self._joints))
            joints = Joints(tuple(self._names), place, speed)
        named = (graph.CLOCK.name, graph.JOINT_STATES.name, *self._images.values())
        endpoints = self._endpoints()
        listed, why = self._controllers()
        return Facts(
            time.monotonic() - self._began,
            self._namespace,
            {name: self._peer(name, n) for name, n in self._peers(endpoints).items()},
            endpoints,
            {name: self._stream(name) for name in named},
            joints,
            {
                name: View(tuple(self._pictures[name]), self._lenses.get(name))
                for name in self._images
            },
            self._safety,
            self._policy,
            self._flags.get(graph.ESTOP.name),
            next((self._flags.get(topic.name) for topic in self._enable), None),
            listed,
            why,
            self._controller_joints(),
        )

    @property
    def ends(self) -> int:
        """How many publishers and subscriptions of the robot's topics are known."""
        return sum(map(len, self._endpoints().values()))

    @property
    def _namespace(self) -> str:
        return str(self._node.get_namespace()).rstrip('/')

    def _full(self, node: str) -> str:
        return f'{self._namespace}/{node}'

    def _peers(self, endpoints: dict[str, tuple[Endpoint, ...]]) -> dict[str, int]:
        """Return the nodes that the robot's topics come from, and how many have each name."""
        counts: dict[str, int] = defaultdict(int)
        for name, namespace in self._node.get_node_names_and_namespaces():
            counts[f'{namespace.rstrip("/")}/{name}'] += 1
        known = {end.node for ends in endpoints.values() for end in ends if end.publishes}
        known |= set(self._processes)
        return {name: count for name, count in counts.items() if name in known}

    def _stream(self, topic: str) -> Stream:
        """Return what came, with the time that /clock had shown by then."""
        stamps, heard = np.array(self._times[topic]).reshape(-1, 2).T
        times, ticks = np.array(self._times[graph.CLOCK.name]).reshape(-1, 2).T
        clock = np.interp(heard, ticks, times) if len(ticks) else np.full(len(heard), np.nan)
        return Stream(stamps, heard, clock)

    def _peer(self, name: str, count: int) -> Peer:
        said, state = self._answer(name, CLOCK), self._answer(name, STATE)
        sim_time = said.values[0].bool_value if said is not None and said.values else None
        return Peer(sim_time, None if state is None else state.current_state.label, count)

    def _endpoints(self) -> dict[str, tuple[Endpoint, ...]]:
        node, found = self._node, {}
        for topic in self._topics:
            full = graph.full_name(topic, self._namespace)
            ends = [_endpoint(True, info) for info in node.get_publishers_info_by_topic(full)]
            ends += [_endpoint(False, info) for info in node.get_subscriptions_info_by_topic(full)]
            mine = node.get_fully_qualified_name()
            found[full] = tuple(end for end in ends if end.node != mine)
        return found

    def _controllers(self) -> tuple[tuple[Controller, ...] | None, str]:
        if ListControllers is None:
            return None, 'controller_manager_msgs is not installed'
        manager = self._full(controllers.MANAGER)
        answer = self._answer(manager, CONTROLLERS)
        if answer is None:
            return None, f'{manager} does not answer'
        return tuple(Controller(c.name, c.type, c.state) for c in answer.controller), ''

    def _controller_joints(self) -> dict[str, tuple[str, ...]]:
        found = {}
        for one in controllers.named(self._wanted):
            said = self._answer(self._full(one.name), JOINTS)
            if said is not None and said.values and said.values[0].string_array_value:
                found[one.name] = tuple(said.values[0].string_array_value)
        return found


def listen(wanted: Wanted, namespace: str, seconds: float) -> Facts:
    """Join a system, wait until all of it is discovered, listen, leave; return the facts.

    Args:
        wanted: Whose topics.
        namespace: Of the robot, such as '/left'; empty: none.
        seconds: How long [s].
    """
    prepare_ros()
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor(context=context)
    node = Node('vla_doctor', namespace=namespace or None, context=context)
    executor.add_node(node)
    listener = Listener(node, wanted)

    def spin(until: float) -> None:
        listener.ask()
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=POLL)

    try:
        began = changed = time.monotonic()
        known = -1
        while (now := time.monotonic()) < min(changed + SETTLED, began + DISCOVERY):
            if listener.ends != known:
                known, changed = listener.ends, now
            spin(now + ASK)
        listener.forget()
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            spin(min(end, now + ASK))
        return listener.facts()
    finally:
        listener.close()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _endpoint(publishes: bool, info: Any) -> Endpoint:
    qos = info.qos_profile
    deadline = qos.deadline.nanoseconds * 1e-9
    return Endpoint(
        f'{info.node_namespace.rstrip("/")}/{info.node_name}',
        info.topic_type,
        publishes,
        qos.reliability == ReliabilityPolicy.RELIABLE,
        qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        deadline if 0.0 < deadline < FOREVER else np.inf,
    )
