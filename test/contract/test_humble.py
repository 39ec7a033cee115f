"""The code keeps to what Humble has: Python 3.10, rclpy 3.3 and the same messages."""

from __future__ import annotations

import ast
from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')

from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher

sys.path.insert(0, str(Path(__file__).parent))

from humble import FUNCTIONS, METHODS, NAMES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(f for room in ('ros', 'nodes') for f in (ROOT / 'vla_ros' / room).rglob('*.py'))
# Of these classes of the rclpy that is installed, public methods count as calls into rclpy.
CLASSES = (ActionClient, Client, Context, LifecycleNode, Publisher, SingleThreadedExecutor)
NEWER = {name for cls in CLASSES for name in dir(cls) if not name.startswith('_')}
# What other things of ours and of Python have by the same names.
OURS = {'destroy', 'execute', 'init', 'publish', 'shutdown', 'wake', 'spin'}


def calls(tree: ast.AST) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def test_nodes_import_with_humbles_names():
    """Every node and all of ros/ load; what Humble lacks would be an ImportError."""
    modules = [
        '.'.join(f.relative_to(ROOT).with_suffix('').parts)
        for f in FILES
        if f.name not in ('launching.py',)
    ]
    program = (
        f'import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n'
        'import humble; humble.install()\n'
        f'import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)\n'
        'from vla_ros.ros.node import make_executor\n'
        'print(type(make_executor()).__name__)\n'
    )
    answer = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=100, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ['SingleThreadedExecutor'], 'Humble has no EventsExecutor'


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.name)
def test_calls_are_ones_that_humble_knows(file):
    known = {
        method: parameters.split()
        for methods in METHODS.values()
        for method, parameters in methods.items()
    }
    tree = ast.parse(file.read_text(encoding='utf-8'))
    defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    for call in calls(tree):
        name = call.func.attr
        if name not in NEWER or name in OURS | defined:
            continue
        assert name in known, f'{file.name}:{call.lineno}: Humble has no {name}'
        words = {keyword.arg for keyword in call.keywords} - {None}
        assert words <= set(known[name]), f'{file.name}:{call.lineno}: {name}({words})'


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.name)
def test_functions_of_rclpy_are_ones_that_humble_has(file):
    tree = ast.parse(file.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or ast.unparse(node.value) != 'rclpy':
            continue
        name = f'rclpy:{node.attr}'
        assert name in {*FUNCTIONS, 'rclpy:logging'}, f'{file.name}:{node.lineno}: {node.attr}'


def test_the_tables_name_what_the_rclpy_here_has_too():
    """Else a word of the tables that is written wrong would pass unseen."""
    from importlib import import_module

    for name in (*METHODS, *FUNCTIONS, *NAMES):
        module, _, what = name.partition(':')
        found = getattr(import_module(module), what)
        for method in METHODS.get(name, {}):
            assert hasattr(found, method), f'{name} has no {method}'


@pytest.mark.parametrize(
    'file', sorted((ROOT / 'vla_ros').rglob('*.py')) + sorted((ROOT / 'launch').glob('*.py')),
    ids=lambda f: f.stem,
)  # fmt: skip
def test_the_syntax_is_that_of_python_3_10(file):
    ast.parse(file.read_text(encoding='utf-8'), feature_version=(3, 10))
