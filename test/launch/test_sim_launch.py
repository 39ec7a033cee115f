"""sim.launch.py against graph.py: read as text everywhere, run where launch_ros is installed."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
import sys

import pytest

from vla_ros import graph, paths
from vla_ros.robot import load_robot

LIMIT = 300.0  # bound of the wait for every node [s]: the first start compiles
FOLDER = paths.share() / 'launch'
FILES = sorted(FOLDER.glob('*.launch.py'))
PROCESSES = graph.processes(load_robot(paths.find('robots', 'panda')), simulated=True)


def test_there_is_a_launch_file():
    assert FOLDER / 'sim.launch.py' in FILES


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.name)
def test_a_launch_file_is_standard_and_small(path: Path):
    tree = ast.parse(path.read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in names
    assert ast.get_docstring(tree), 'it says how it is started'
    modules = {n.module.split('.')[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {'__future__', 'launch', 'launch_ros', 'vla_ros'}
    branches = [n for n in ast.walk(tree) if isinstance(n, (ast.If, ast.While, ast.Try))]
    assert not branches, 'a launch file describes; logic stands in graph.py'


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.name)
def test_names_come_from_the_graph(path: Path):
    """No node, topic or executable name is repeated in a launch file."""
    tree = ast.parse(path.read_text())
    text = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    topics = {t.name for p in PROCESSES for t in (*p.subscribes, *p.publishes)}
    nodes = {p.node for p in PROCESSES} | {p.executable for p in PROCESSES}
    assert not text & (topics | nodes)


@pytest.mark.parametrize('process', PROCESSES, ids=lambda p: p.node)
def test_what_the_graph_names_is_there(process: graph.Process):
    assert importlib.util.find_spec(process.module) is not None
    assert process.module.rpartition('.')[2] == process.executable
    for name in process.parameters:
        assert name in graph.ARGUMENTS, f'{process.node} takes {name}, which no launch file offers'


def test_every_argument_is_described_and_taken():
    taken = {name for p in PROCESSES for name in (*p.parameters, p.wanted, p.interpreter) if name}
    assert set(graph.ARGUMENTS) == taken
    for argument in graph.ARGUMENTS.values():
        assert argument.description.endswith('.')


def test_every_topic_has_one_type_and_a_source():
    made = {t.name: t for p in PROCESSES for t in p.publishes}
    operator = {graph.INSTRUCTION.name, graph.ESTOP.name, graph.OVERRIDE.name}
    for process in PROCESSES:
        for topic in process.subscribes:
            assert made.get(topic.name, topic) == topic
            assert topic.name in made or topic.name in operator


def test_the_arguments_are_those_of_the_graph(described):
    _, description, _ = described('sim')
    declared = {a.name: a.description for a in description.get_launch_arguments()}
    declared.pop('namespace')
    assert declared == {a.name: a.description for a in graph.ARGUMENTS.values()}


def test_the_nodes_are_those_of_the_graph(described):
    module, _, context = described('sim')
    made = module.nodes(context)
    assert [(n.node_package, n.node_executable) for n in made] == [
        ('vla_ros', p.executable) for p in PROCESSES
    ]


@pytest.mark.timeout(400)
def test_the_launch_starts_every_node_and_ends_clean(run, tmp_path):
    """Run it until every node has reported, the policy in a Python of its own."""
    from vla_ros.nodes.client import Client

    heard: list[str] = []

    def probe() -> None:
        with Client('launch_probe') as client:
            client.ready(LIMIT, ('policy', 'safety', 'task'))
            heard.append(client.task.instruction)

    python, used = tmp_path / 'python', tmp_path / 'used'
    python.write_text(f'#!/bin/sh\necho "$1" >> {used}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    arguments = {'policy': 'hold', 'seed': '1', 'policy_python': str(python)}
    ended = run('sim', probe, arguments)
    assert heard, 'every node reported'
    assert [Path(program).name for program in used.read_text().split()] == ['policy_node']
    names = [python.name if p.interpreter else p.executable for p in PROCESSES if not p.wanted]
    assert ended == dict.fromkeys(names, 0)
