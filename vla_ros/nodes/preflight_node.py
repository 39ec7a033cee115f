"""The preflight node: activates the safety filter once nothing that it finds is bad.

With the argument `preflight` the filter does not start itself. This node configures it, listens
to the whole system, says what is bad and how to cure it, and looks again until nothing is. Then
it activates the filter, once. If it dies before, the arm does not move.
"""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor

from vla_ros import config, paths
from vla_ros.nodes.listener import ASK, Listener
from vla_ros.preflight.facts import Wanted
from vla_ros.preflight.finding import Finding, passed
from vla_ros.preflight.inspect import inspect_machine
from vla_ros.preflight.judge import judge
from vla_ros.robot import load_robot
from vla_ros.ros.node import Node, run
from vla_ros.safety.config import load_safety
from vla_ros.spec import PolicySpec

LISTEN = 3.0  # [s] before each judgement
FILTER = 'safety_filter'


class PreflightNode(Node):
    """Stands between a started system and an arm that may move."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('preflight', **kwargs)
        self._names = {kind: self.argument(kind) for kind in ('robot', 'policy', 'safety')}

    def configure(self) -> None:
        """Read the files and look at the machine."""
        robot = load_robot(paths.find('robots', self._names['robot']))
        policy = config.load(paths.find('policies', self._names['policy']), PolicySpec)
        safety = load_safety(paths.find('safety', self._names['safety']))
        self._wanted = Wanted(robot, policy, safety, gate=True)
        self._machine = inspect_machine(policy)
        self._change: Any = self.create_client(ChangeState, f'{FILTER}/change_state')
        self._listener: Listener | None = None

    def activate(self) -> None:
        """Begin to listen."""
        self._listener = Listener(self, self._wanted)
        self._told: list[str] = []
        self._asking = self.create_timer(ASK, self._listener.ask)
        self._looking = self.create_timer(LISTEN, self._look)

    def deactivate(self) -> None:
        """Stop listening; the safety filter stays as it is."""
        if self._listener is not None:
            self.destroy_timer(self._asking)
            self.destroy_timer(self._looking)
            self._listener.close()
            self._listener = None

    def cleanup(self) -> None:
        """Release the client."""
        self.destroy_client(self._change)

    def _look(self) -> None:
        if self._listener is None:
            return
        facts = self._listener.facts()
        self._listener.forget()
        peer = facts.peer(FILTER)
        state = peer.state if peer is not None else 'missing'
        if state is None:  # it is on its way
            return
        if state == 'unconfigured':  # so that its own topics can be looked at
            self._ask(Transition.TRANSITION_CONFIGURE)
            return
        findings = judge(facts, self._wanted, self._machine)
        if state == 'active':
            self.get_logger().info('nothing is bad: the safety filter is active')
            self.deactivate()
            return
        self._tell(findings)
        if state == 'inactive' and passed(findings):
            self._ask(Transition.TRANSITION_ACTIVATE)

    def _ask(self, transition: int) -> None:
        """Ask for a transition; the next look tells whether it came."""
        if self._change.service_is_ready():
            request = ChangeState.Request()
            request.transition.id = transition
            self._change.call_async(request)

    def _tell(self, findings: list[Finding]) -> None:
        """Log what is new among the findings."""
        wrong = {f'{finding.name}: {finding}': finding for finding in findings if not finding.ok}
        for line, finding in wrong.items():
            if line in self._told:
                continue
            if finding.verdict == 'bad':
                self.get_logger().error(line)
            else:
                self.get_logger().warning(line)
        self._told = list(wrong)


def main() -> int:
    """Run the node until it is told to end."""
    # The executor of events fails on a callback that asks when its message came (rclpy 9.1).
    return run(PreflightNode, executors=SingleThreadedExecutor)


if __name__ == '__main__':
    raise SystemExit(main())
