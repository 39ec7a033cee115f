"""The base of the three nodes: lifecycle, errors as one line, topics by graph.py, the end."""

from __future__ import annotations

from collections.abc import Callable
import signal
import threading
import traceback
from typing import Any, ClassVar

import rclpy
from rclpy.client import Client
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions

from vla_ros.bootstrap import prepare_ros
from vla_ros.errors import VlaError
from vla_ros.graph import ARGUMENTS, Topic
from vla_ros.ros.parameters import declare
from vla_ros.ros.priority import hasten, relax, set_niceness
from vla_ros.ros.qos import interface, profile


class Node(LifecycleNode):
    """A lifecycle node whose subclass says what each transition does.

    A subclass fills in `configure` (load and check everything), `activate` (start to publish),
    `deactivate` (stop safely) and `cleanup`; a VlaError from one of them fails the transition
    and is logged as one line.
    """

    hastened: ClassVar[bool] = False  # whether messages go before normal work while it is active

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Declare the parameters that every node has.

        Args:
            name: As in graph.py.
            **kwargs: For rclpy's LifecycleNode.
        """
        super().__init__(name, **kwargs)
        self.failure: VlaError | None = None  # why the last transition failed
        self.fatal: BaseException | None = None  # why the process must end
        self.autostart = self.argument('autostart')

    def argument(self, name: str, *, live: bool = False) -> Any:
        """Declare the parameter of a launch argument of graph.py and return its value."""
        argument = ARGUMENTS[name]
        return declare(self, name, argument.default, argument.description, live=live)

    def configure(self) -> None:
        """Load and check everything that `activate` needs."""

    def activate(self) -> None:
        """Start to publish."""

    def deactivate(self) -> None:
        """Stop safely; `activate` may follow."""

    def cleanup(self) -> None:
        """Release what `configure` made."""

    def interrupt(self) -> None:
        """End what a transition waits for; called when the process is to end."""

    def now(self) -> float:
        """Return the ROS time [s]."""
        return self.get_clock().now().nanoseconds * 1e-9

    def advertise(self, topic: Topic) -> Publisher:
        """Return a publisher of a topic of graph.py."""
        return self.create_publisher(interface(topic.type), topic.name, profile(topic.qos))

    def listen(self, topic: Topic, callback: Callable[[Any], None], **kwargs: Any) -> Any:
        """Return a subscription of a topic of graph.py."""
        return self.create_subscription(
            interface(topic.type), topic.name, callback, profile(topic.qos), **kwargs
        )

    def serve(self, service: tuple[str, str], callback: Callable[[Any], Any], **kw: Any) -> Any:
        """Return a service of graph.py; `callback` takes the request and gives the answer."""
        name, kind = service
        return self.create_service(
            interface(kind), name, lambda request, _: callback(request), **kw
        )

    def ask(self, service: tuple[str, str]) -> Client:
        """Return a client of a service of graph.py."""
        name, kind = service
        return self.create_client(interface(kind), name)

    def die(self, error: BaseException) -> None:
        """End the process with one clear line; safe to call from any thread."""
        known = isinstance(error, VlaError)
        text = str(error) if known else ''.join(traceback.format_exception(error))
        self.get_logger().fatal(text)
        self.fatal = error

    def start(self) -> None:
        """Configure and activate.

        Raises:
            VlaError: A transition failed.
        """
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise self.failure or VlaError(f'{self.get_name()} did not start.')

    def _run(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        self.failure = None
        try:
            step()
        except VlaError as error:
            self.failure = error
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        return self._run(self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        super().on_activate(state)
        done = self._run(self.activate)
        if self.hastened and done == TransitionCallbackReturn.SUCCESS:
            hasten()
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        if self.hastened:
            relax()
        super().on_deactivate(state)
        return self._run(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._run(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop safely and release everything, from whatever state."""
        if state.label == 'active':
            self.on_deactivate(state)
        return self._run(self.cleanup) if state.label != 'unconfigured' else self._run(_nothing)


def _nothing() -> None:
    pass


def make_executor() -> Executor:
    """Return the cheapest executor of this rclpy.

    The one that events wake costs a fifth of the one that builds a wait set for every message,
    which at 200 messages a second is half a core; it came with Kilted.
    """
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()


def run(
    make: Callable[[], Node], nice: int = 0, executors: Callable[[], Executor] = make_executor
) -> int:
    """Run a node until SIGINT or SIGTERM; return the exit status of its process.

    Args:
        make: Builds the node; called once rclpy runs.
        nice: How much priority the process gives up, or takes where it has the right to.
        executors: Makes the executor.
    """
    prepare_ros()
    set_niceness(nice)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    starting = True
    node: Node | None = None

    def end(*_: object) -> None:
        stop.set()
        if node is not None:
            node.interrupt()
        if starting:  # a policy may load for long; nothing moves yet, so just leave
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    executor = executors()
    status = 0
    try:
        node = make()
        executor.add_node(node)
        if node.autostart:
            node.start()
        starting = False
        while not stop.is_set() and node.fatal is None:
            executor.spin_once(timeout_sec=0.1)
        status = 0 if node.fatal is None else 1
    except VlaError as error:
        if node is None:
            rclpy.logging.get_logger('vla_ros').error(str(error))
        status = 1
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    finally:
        interrupted, starting = starting and stop.is_set(), False
        if node is not None:
            if not interrupted:  # else a transition was left in its middle
                node.trigger_shutdown()
            executor.remove_node(node)
            node.destroy_node()
        executor.shutdown()
        rclpy.get_default_context().try_shutdown()  # Humble has no shorter name
    return status
