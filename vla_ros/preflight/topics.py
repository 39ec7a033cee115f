"""Nodes, topics, types, QoS, and who speaks to whom: judged from the graph of a running system."""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros import graph
from vla_ros.preflight.facts import Endpoint, Facts, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, warn

ONE_SPEAKER = (graph.TRAJECTORY, graph.EXECUTION_STATE, graph.SAFETY_STATUS, graph.JOINT_STATES)


def judge_topics(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with nodes, topics, types, QoS and publishers."""
    empty = '' if any(facts.endpoints.values()) else 'nobody is on these topics'
    types, heard = (
        'every topic has the type of graph.py',
        'every publisher is heard by who listens',
    )
    return [
        *gather('nodes', _nodes(facts, wanted), 'every process of the graph is there and active'),
        *gather('topics', _topics(facts, wanted), 'everything that is needed is published'),
        *gather('types', _types(facts, wanted), types, empty),
        *gather('qos', _qos(facts, wanted), heard, empty),
        *gather('publishers', _publishers(facts, wanted), 'one publisher on each command', empty),
        *gather('controller link', _link(facts, wanted), 'the controllers take the commands'),
    ]


def mismatch(offered: Endpoint, requested: Endpoint) -> str:
    """Return why DDS does not connect a publisher with a subscription; empty: it does.

    A subscription may not ask for more than a publisher offers (OMG DDS 1.4, 2.2.3).
    """
    reasons = []
    if requested.reliable and not offered.reliable:
        reasons.append('best effort is offered and reliable is asked for')
    if requested.transient_local and not offered.transient_local:
        reasons.append('volatile is offered and transient local is asked for')
    if offered.deadline > requested.deadline:
        late, asked = offered.deadline, requested.deadline
        reasons.append(f'a deadline of {late:g} s is offered and {asked:g} s is asked for')
    return ', '.join(reasons)


def _used(facts: Facts, wanted: Wanted) -> dict[str, graph.Topic]:
    """Return the topics of the processes that must run, by name."""
    parts = wanted.processes(facts)
    return {t.name: t for p in parts for t in (*p.subscribes, *p.publishes)}


def needed(wanted: Wanted) -> dict[str, bool]:
    """Return the topics that must come from outside, and whether nothing works without."""
    topics = {graph.JOINT_STATES.name: True}
    seen = {image.camera for image in wanted.policy.images}
    for camera in wanted.robot.cameras:
        image, info = graph.camera_topics(wanted.robot, camera.name)
        topics[image.name] = camera.name in seen
        topics[info.name] = False
    return topics


def _nodes(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    start = 'start it: vla up, or ros2 launch vla_ros; is ROS_DOMAIN_ID the same everywhere?'
    for process in wanted.processes(facts):
        peer, name = facts.peer(process.node), facts.full(process.node)
        if peer is None:
            yield bad('nodes', f'{name} is not there', 'every process of the graph', start)
            continue
        if peer.count > 1:
            cure = 'end one of the two systems, or give each a namespace or a ROS_DOMAIN_ID'
            yield bad('nodes', f'{peer.count} nodes are called {name}', 'one', cure)
        held_back = wanted.gate and process.node == 'safety_filter'
        if peer.state is None:
            cure = f'wait until {name} has started; else read its log'
            yield warn('nodes', f'{name} does not answer', 'the state of its life cycle', cure)
        elif peer.state != 'active' and not held_back:
            cure = f'read the log of {name}, then ros2 lifecycle set {name} activate'
            yield bad('nodes', f'{name} is {peer.state}', 'active', cure)


def _topics(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    known = {t.name: t for t in graph.recorded(wanted.robot)}
    for name, must in needed(wanted).items():
        topic = known[name]
        full = graph.full_name(topic, facts.namespace)
        listed = facts.publishers(topic)
        silent = listed and name in facts.streams and not len(facts.streams[name].stamps)
        if listed and not silent:
            continue
        found = f'{full} is {"silent" if silent else "not published"}'
        expected = f'{topic.type} from a driver or a simulator'
        cure = 'start the driver, remap its topic, or correct the name in the robot file'
        yield (bad if must else warn)('topics', found, expected, cure)


def _types(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    for topic in _used(facts, wanted).values():
        full = graph.full_name(topic, facts.namespace)
        for end in (*facts.publishers(topic), *facts.subscriptions(topic)):
            if end.type != topic.type:
                verb = 'publishes' if end.publishes else 'listens to'
                cure = f'remap {end.node} to another topic, or let it use this type'
                found = f'{end.node} {verb} {full} as {end.type}'
                if topic in graph.controller_topics(wanted.robot):
                    cure = 'driver: of the robot file must name the kind of the controller'
                yield bad('types', found, topic.type, cure)


def _qos(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """A node hears a publisher if any of its subscriptions does: some listen in two ways."""
    ours = {facts.full(p.node) for p in wanted.processes(facts)}
    for topic in _used(facts, wanted).values():
        heard = facts.subscriptions(topic)
        for offered in facts.publishers(topic):
            for node in dict.fromkeys(end.node for end in heard):
                reasons = [mismatch(offered, end) for end in heard if end.node == node]
                if not all(reasons):
                    continue
                full = graph.full_name(topic, facts.namespace)
                found = f'{node} does not hear {full} of {offered.node}: {reasons[0]}'
                quality = 'reliable' if topic.qos.reliable else 'best effort'
                cure = f'set the QoS of {node if offered.node in ours else offered.node}'
                judge = bad if node in ours or offered.node in ours else warn
                yield judge('qos', found, f'{quality}, as docs/nodes.md says', cure)


def _publishers(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    parts = wanted.processes(facts)
    commands = {*graph.controller_topics(wanted.robot), *graph.command_topics(wanted.robot)}
    for topic in commands:
        owner = next(facts.full(p.node) for p in parts if topic in p.publishes)
        for end in facts.publishers(topic):
            if end.node != owner:
                full = graph.full_name(topic, facts.namespace)
                cure = f'end {end.node}; people and planners speak through vla/override'
                yield bad('publishers', f'{end.node} publishes {full}', f'only {owner}', cure)
    for topic in ONE_SPEAKER:
        nodes = [end.node for end in facts.publishers(topic)]
        if len(nodes) > 1:
            full = graph.full_name(topic, facts.namespace)
            cure = 'end all but one, or remap: what they say would be mixed'
            yield bad('publishers', f'{full} comes from {", ".join(nodes)}', 'one node', cure)


def _link(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    safety = facts.safety
    judge = warn if safety is not None and safety.dry_run else bad
    for topic in graph.controller_topics(wanted.robot):
        if not facts.subscriptions(topic):
            full = graph.full_name(topic, facts.namespace)
            cure = 'load and activate the controller, or correct driver: in the robot file'
            yield judge('controller link', f'nobody listens to {full}', 'its controller', cure)
    for topic, (name, kind) in zip(
        graph.action_statuses(wanted.robot), graph.controller_actions(wanted.robot)
    ):
        if not facts.publishers(topic):
            found = f'nobody serves {facts.namespace}/{name}'
            cure = 'start the node that does, or correct driver: in the robot file'
            yield judge('controller link', found, f'a server of {kind}', cure)
