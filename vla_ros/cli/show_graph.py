"""The node graph as a tree of text, and as text for Graphviz and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vla_ros import graph
from vla_ros.robot import RobotSpec

Entry = dict[str, Any]
RECORDER = 'recorder'


def describe(robot: RobotSpec, simulated: bool) -> Entry:
    """Return processes and topics of a robot's graph, as `vla show graph --json` writes them."""
    rates = graph.rates(robot)
    parts = graph.processes(robot, simulated)
    topics = {t.name: t for p in parts for t in (*p.subscribes, *p.publishes)}
    return {
        'robot': robot.name,
        'processes': {
            p.node: {
                'executable': p.executable,
                'nice': p.nice,
                'critical': p.critical,
                'wanted': p.wanted,
                'parameters': list(p.parameters),
                'subscribes': [t.name for t in p.subscribes],
                'publishes': [t.name for t in p.publishes],
                'services': dict(p.services),
                'actions': dict(p.actions),
            }
            for p in parts
        },
        'topics': {
            name: {
                'type': topic.type,
                'reliable': topic.qos.reliable,
                'transient_local': topic.qos.transient_local,
                'depth': topic.qos.depth,
                'rate': rates.get(name),
            }
            for name, topic in topics.items()
        },
    }


def tree(entry: Entry) -> str:
    """Return it as text: each process with what it hears, says and serves."""
    lines = []
    for node, process in entry['processes'].items():
        only = f', only with {process["wanted"]}:=true' if process['wanted'] else ''
        lines.append(f'{node} ({process["executable"]}, nice {process["nice"]}{only})')
        branches = [
            *((f'◀ {name}', _quality(entry, name)) for name in process['subscribes']),
            *((f'▶ {name}', _quality(entry, name)) for name in process['publishes']),
            *((f'● {name}', kind) for name, kind in process['services'].items()),
            *((f'★ {name}', kind) for name, kind in process['actions'].items()),
        ]
        for index, (name, words) in enumerate(branches):
            corner = '└─' if index == len(branches) - 1 else '├─'
            lines.append(f'{corner} {name:45} {words}')
    lines.append('◀ hears  ▶ says  ● service  ★ action; names are relative to the namespace')
    return '\n'.join(lines)


def _quality(entry: Entry, name: str) -> str:
    topic = entry['topics'][name]
    words = ['reliable' if topic['reliable'] else 'best effort']
    words += ['transient local'] if topic['transient_local'] else []
    words += [f'depth {topic["depth"]}']
    words += [f'{topic["rate"]:g} Hz'] if topic['rate'] else []
    return f'{topic["type"]} ({", ".join(words)})'


def edges(entry: Entry) -> Iterator[tuple[str, str, str]]:
    """Yield who says what to whom; a topic with one end is an edge from or to 'outside'.

    A recorder hears everything, and is left out.
    """
    parts = {node: p for node, p in entry['processes'].items() if node != RECORDER}
    for name in entry['topics']:
        said = [node for node, p in parts.items() if name in p['publishes']]
        heard = [node for node, p in parts.items() if name in p['subscribes']]
        for speaker in said or ['outside']:
            for listener in heard or ['outside']:
                if speaker != listener:
                    yield speaker, name, listener


def dot(entry: Entry) -> str:
    """Return it for Graphviz."""
    lines = [f'  "{a}" -> "{b}" [label="{name}"];' for a, name, b in edges(entry)]
    head = 'digraph vla_ros {\n  rankdir=LR;\n  node [shape=box];\n  outside [shape=plaintext];'
    return '\n'.join([head, *lines, '}'])


def mermaid(entry: Entry) -> str:
    """Return it for Mermaid."""
    return '\n'.join(['graph LR', *(f'  {a} -->|"{t}"| {b}' for a, t, b in edges(entry))])
