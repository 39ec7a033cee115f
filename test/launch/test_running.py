"""The files run by the real launch: to active nodes and back, by a manager and in a namespace."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from vla_ros import graph, paths
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros.qos import interface, profile

LIMIT = 300.0  # [s] bound of every wait: the first start compiles the safety core
ROBOT = load_robot(paths.find('robots', 'panda'))
ARM = [p for p in graph.processes(ROBOT, simulated=False) if not p.wanted]
WAY = [  # of a lifecycle manager
    (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
    (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
    (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
    (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
    (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
    (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
]

pytestmark = pytest.mark.timeout(400)


def call(client: Client, kind, name: str, request):
    """Return the answer of a service."""
    service = client.node.create_client(kind, name)
    client.until(service.service_is_ready, LIMIT, f'the service {name}')
    return client.wait(service.call_async(request), LIMIT, f'the answer of {name}')


def state(client: Client, process: graph.Process) -> int:
    """Return the state of a node's lifecycle."""
    answer = call(client, GetState, f'{process.node}/get_state', GetState.Request())
    return answer.current_state.id


def test_a_manager_takes_the_arm_to_active_and_back(run):
    """With autostart false nothing is advertised until a manager configures the nodes."""
    seen: list[int] = []

    def probe() -> None:
        with Client('launch_probe') as client:
            for process in ARM:
                assert state(client, process) == State.PRIMARY_STATE_UNCONFIGURED
            assert not client.node.get_publishers_info_by_topic('/vla/safety_status')
            for transition, goal in WAY:
                for process in ARM:
                    request = ChangeState.Request(transition=Transition(id=transition))
                    name = f'{process.node}/change_state'
                    assert call(client, ChangeState, name, request).success, name
                    answer = call(
                        client, GetState, f'{process.node}/get_state', GetState.Request()
                    )
                    assert answer.current_state.id == goal
                    seen.append(goal)
            for topic in graph.command_topics(ROBOT):  # dry by default
                assert not client.node.get_publishers_info_by_topic(f'/{topic.name}')

    ended = run('robot', probe, {'policy': 'hold', 'autostart': 'false'})
    assert len(seen) == len(WAY) * len(ARM)
    assert ended == {p.executable: 0 for p in ARM}


def test_a_file_of_the_user_pushes_a_namespace(run):
    """Two arms in two namespaces share nothing but /clock and /diagnostics."""
    names: set[str] = set()

    def probe() -> None:
        with Client('launch_probe') as client:
            heard: list[object] = []
            topic = graph.SAFETY_STATUS
            client.node.create_subscription(
                interface(topic.type), f'/left/{topic.name}', heard.append, profile(topic.qos)
            )
            client.until(lambda: heard, LIMIT, 'a status in the namespace')
            names.update(name for name, _ in client.node.get_topic_names_and_types())

    ended = run('robot', probe, {'policy': 'hold'}, pushed='left')
    said = {topic.name for process in ARM for topic in process.publishes}
    commanded = {topic.name for topic in graph.command_topics(ROBOT)}
    said -= {graph.DIAGNOSTICS.name} | commanded
    assert {f'/left/{name}' for name in said} <= names
    # The probe itself listens to the three reports at the root.
    reports = {graph.POLICY_STATUS.name, graph.SAFETY_STATUS.name}
    assert not {f'/{name}' for name in said - reports} & names
    assert ended == {p.executable: 0 for p in ARM}
