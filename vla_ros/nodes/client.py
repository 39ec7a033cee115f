"""A client of the running graph for commands, demos and tests; every wait is bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
import threading
from time import monotonic, sleep
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from vla_ros import graph
from vla_ros.bootstrap import prepare_ros
from vla_ros.errors import NodeError
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.status import PolicyPhase, PolicyStatus, RunCode, SafetyStatus, TaskStatus

ANSWER = 5.0  # [s] for a service or an action server to appear and to answer
POLL = 0.01  # [s] between two looks at a condition
REPEAT = 1.0  # [s] after which an instruction that nobody took up is said again


@dataclass(frozen=True)
class Progress:
    """Feedback on a running instruction."""

    elapsed: float  # [s]
    chunks: int
    level: int  # S0 to S4
    min_barrier: float  # [m]


@dataclass(frozen=True)
class Report:
    """How an instruction ended."""

    code: RunCode
    message: str
    elapsed: float  # [s]
    chunks: int


class Run:
    """An instruction in work, started by `Client.run`."""

    def __init__(self, client: Client, handle: Any) -> None:
        self._client = client
        self._handle = handle
        self._result = handle.get_result_async()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._result.done()

    def result(self, timeout: float) -> Report:
        """Wait at most `timeout` [s] for the end.

        Raises:
            NodeError: It has not ended by then, or the policy node is gone.
        """
        answer = self._client.wait(self._result, timeout, 'the end of the instruction')
        return Report(*convert.run_result_from_msg(answer.result))

    def cancel(self) -> None:
        """Ask the policy to stop; `result` tells when it has."""
        self._client.wait(self._handle.cancel_goal_async(), ANSWER, 'the cancellation')


class Client:
    """Says, runs, stops, resets, and knows the newest status of every node.

    A context manager with a context and a thread of its own, so that it works beside other
    nodes of the process.
    """

    def __init__(self, name: str = 'vla_client') -> None:
        """Join the graph.

        Args:
            name: Of the ROS node.
        """
        prepare_ros()
        self.policy: PolicyStatus | None = None
        self.safety: SafetyStatus | None = None
        self.task: TaskStatus | None = None
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(name, context=self._context)
        said = graph.INSTRUCTION
        self._instruction = self.node.create_publisher(
            interface(said.type), said.name, profile(said.qos)
        )
        for topic, attribute, read in (
            (graph.POLICY_STATUS, 'policy', convert.policy_status_from_msg),
            (graph.SAFETY_STATUS, 'safety', convert.safety_status_from_msg),
            (graph.TASK_STATE, 'task', convert.task_status_from_msg),
        ):
            self.listen(topic, self._keep(attribute, read))
        name, kind = graph.RUN_ACTION
        self._action: Any = ActionClient(self.node, interface(kind), name)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._closing = False
        self._services: dict[str, Any] = {}  # clients by the name of their service
        self._thread = threading.Thread(target=self._spin, name='client', daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        # While its thread spins, an executor may look at what `shutdown` takes away.
        self._closing = True
        self._executor.create_task(lambda: None)  # the callback that it waits for
        self._thread.join(ANSWER)
        self._executor.shutdown(timeout_sec=ANSWER)
        self._context.try_shutdown()
        self._action.destroy()
        self.node.destroy_node()

    def listen(self, topic: graph.Topic, callback: Callable[..., None]) -> None:
        """Subscribe to a further topic; the callback runs in the client's thread.

        One of two arguments gets the message and rclpy's account of it.
        """
        self.node.create_subscription(
            interface(topic.type), topic.name, callback, profile(topic.qos)
        )

    def until(self, condition: Callable[[], Any], timeout: float, what: str) -> Any:
        """Wait at most `timeout` [s] until a condition holds, and return what it gave.

        Args:
            condition: Looked at every POLL seconds.
            timeout: [s]
            what: What is awaited, for the message.

        Raises:
            NodeError: It did not hold in time.
        """
        deadline = monotonic() + timeout
        while not (value := condition()):
            if monotonic() > deadline:
                raise NodeError(
                    f'waited {timeout:.1f} s for {what}. Is the graph running (`vla up`), with '
                    f'the same ROS_DOMAIN_ID? Last heard: {self.heard()}.'
                )
            sleep(POLL)
        return value

    def wait(self, future: Future, timeout: float, what: str) -> Any:
        """Wait at most `timeout` [s] for a future and return its result."""
        self.until(future.done, timeout, what)
        return future.result()

    def heard(self) -> str:
        """Return, in a few words, what the nodes last said of themselves."""
        policy, safety = self.policy, self.safety
        policy_words = f'{policy.phase.name} ({policy.message})' if policy else 'nothing'
        safety_words = f'S{safety.level} ({safety.message})' if safety else 'nothing'
        return f'policy {policy_words}, safety_filter {safety_words}'

    def ready(self, timeout: float, nodes: Sequence[str] = ('policy', 'safety')) -> None:
        """Wait until the nodes report, and the policy is active.

        Args:
            timeout: For each of them [s].
            nodes: Any of 'policy', 'safety', 'task' (the simulator's report).

        Raises:
            NodeError: One of them has not in time, or the policy node has failed.
        """
        for node in nodes:
            self.until(partial(self.reports, node), timeout, f"a report of '{node}'")

    def reports(self, node: str) -> bool:
        """Whether a node has reported and, if it is the policy, is active.

        Raises:
            NodeError: The policy node has failed.
        """
        status = getattr(self, node)
        if node != 'policy' or status is None:
            return status is not None
        if status.phase is PolicyPhase.ERROR:
            raise NodeError(f'the policy node has failed: {status.message}')
        return status.phase is not PolicyPhase.STOPPED

    def say(self, text: str, timeout: float = ANSWER) -> PolicyStatus:
        """Publish an instruction, empty to stop, and return the status that takes it up.

        It is said again every REPEAT seconds until then: what is published while a node that has
        just started is being discovered may never reach it.

        Raises:
            NodeError: No policy took it up in time.
        """
        self.until(lambda: self.policy, timeout, 'a report of the policy node')
        before = self.policy
        text = text.strip()
        due = monotonic()

        def taken() -> PolicyStatus | None:
            nonlocal due
            now = self.policy
            if monotonic() >= due:
                self._instruction.publish(convert.text_to_msg(text))
                due = monotonic() + REPEAT
            if now is None or before is None or now is before:
                return None
            newer = now.instruction_id > before.instruction_id
            return now if now.instruction == text or newer else None

        status: PolicyStatus = self.until(taken, timeout, 'the policy to take the instruction')
        return status

    def run(
        self,
        text: str,
        limit: float = 0.0,
        progress: Callable[[Progress], None] | None = None,
    ) -> Run:
        """Start an instruction as an action goal.

        Args:
            text: The sentence.
            limit: Longest duration [s]; 0 is the node's own.
            progress: Called in the client's thread with each feedback.

        Raises:
            NodeError: There is no policy node, or it refused.
        """
        self.until(self._action.server_is_ready, ANSWER, 'the action server of the policy node')

        def hear(message: Any) -> None:
            if progress is not None:
                progress(Progress(*convert.run_feedback_from_msg(message.feedback)))

        sent = self._action.send_goal_async(convert.run_goal(text, limit), hear)
        handle = self.wait(sent, ANSWER, 'the policy node to accept the goal')
        if not handle.accepted:
            raise NodeError(f"the policy node refused '{text}': it is empty, or not active.")
        return Run(self, handle)

    def stop(self) -> None:
        """Stop the instruction in work."""
        self._demand(graph.STOP_SERVICE)

    def reset_safety(self) -> str:
        """Clear a latched stop and return what the safety filter says."""
        return self._demand(graph.RESET_SERVICE)

    def reset_world(self, suite: str, task: str, seed: int) -> str:
        """Put the simulated world into a start state; return the task's sentence.

        Args:
            suite: Empty keeps the one in use.
            task: Empty keeps the one in use.
            seed: Of the scene and the phrasing.
        """
        request = convert.world_request(suite, task, seed)
        done, message, instruction = convert.world_answer_from_msg(
            self._call(graph.WORLD_SERVICE, request)
        )
        if not done:
            raise NodeError(f'the simulator refused: {message}')
        return instruction

    def _demand(self, service: tuple[str, str]) -> str:
        request = interface(service[1]).Request()
        done, message = convert.trigger_from_msg(self._call(service, request))
        if not done:
            raise NodeError(f'{service[0]} refused: {message}')
        return message

    def _call(self, service: tuple[str, str], request: Any) -> Any:
        name, kind = service
        if name not in self._services:  # kept: what is new must be discovered before it is heard
            self._services[name] = self.node.create_client(interface(kind), name)
        client = self._services[name]
        self.until(client.service_is_ready, ANSWER, f'the service {name}')
        return self.wait(client.call_async(request), ANSWER, f'the answer of {name}')

    def between(self, work: Callable[[], object]) -> None:
        """Do something between two callbacks, in the client's thread, and wait for it.

        What ends a publisher, subscription or client must run there: the executor may be looking
        at it.
        """
        self.wait(self._executor.create_task(work), ANSWER, 'the thread of the client')

    def _keep(self, attribute: str, read: Callable[[Any], Any]) -> Callable[[Any], None]:
        return lambda message: setattr(self, attribute, read(message))

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while not self._closing:
                self._executor.spin_once()
