"""Who may import whom: the rooms of the design, read from the imports themselves."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'vla_ros'

GROUND = {
    'types', 'errors', 'config', 'paths', 'status', 'obstacle', 'mark', 'statistics', 'rotation',
    'action_space', 'kinematics', 'urdf',
}  # fmt: skip
SPECS = GROUND | {'composition', 'robot', 'spec', 'graph', 'fit'}
CORES = {'actions', 'safety', 'drivers', 'sim', 'bags', 'models', 'policies'}

# A room is a module or a folder right under vla_ros/; each may import itself and these.
MAY_IMPORT = {
    'types': {'errors'},
    'errors': set(),
    'config': {'types', 'errors'},
    'paths': {'errors'},
    'bootstrap': {'paths'},
    'status': {'types', 'errors'},
    'obstacle': {'types', 'errors'},
    'mark': {'types', 'errors'},
    'statistics': {'types', 'errors'},
    'rotation': {'types', 'errors'},
    'action_space': {'errors', 'rotation'},
    'messages': {'types', 'errors', 'status', 'obstacle'},  # reads fields; needs no ROS for it
    'kinematics': GROUND,
    'urdf': {'types', 'errors'},
    'composition': GROUND,  # reads robots, but only their type is told to it by `robot`
    'robot': GROUND | {'composition'},
    'spec': GROUND | {'robot'},
    'fit': GROUND | {'robot', 'spec'},
    'graph': GROUND | {'robot'},
    'supervisor': SPECS,
    'bridges': SPECS,
    'actions': SPECS,
    'safety': SPECS,
    'drivers': SPECS,
    'sim': SPECS,
    'bags': SPECS | {'messages'},
    'models': SPECS,
    'policies': SPECS | {'models', 'actions'},
    'training': SPECS | {'models', 'policies', 'actions', 'sim', 'bags'},
    'serving': SPECS | {'models', 'policies', 'actions', 'sim', 'bags'},
    # nodes: a replay steps their own cores, which know no ROS; see the test below.
    'evaluation': SPECS | CORES | {'training', 'serving', 'messages', 'nodes'},
    'bench': SPECS | CORES,
    'importing': SPECS | {'safety'},
    'ros': SPECS | {'bootstrap', 'messages'},
    'nodes': SPECS
    | CORES
    | {'ros', 'bootstrap', 'evaluation', 'preflight'},  # evaluation: the suites
}
EVERYTHING = {'cli', 'preflight'}  # may import any room; ROS only inside a function

# Libraries that must not leak: the rooms that may import each.
LIBRARIES = {
    'torch': {'models', 'training', 'policies', 'bench'},
    'transformers': {'models', 'training', 'policies', 'bench'},
    'mujoco': {'sim'},
    'pinocchio': {'kinematics', 'safety', 'bench', 'importing'},
    'rclpy': {'ros', 'nodes', 'preflight'},
    'websockets': {'policies', 'serving'},
    'zmq': {'policies'},
    'grpc': {'policies'},
    'msgpack': {'policies'},
    'pickle': {'policies'},  # policies/wire/lerobot.py, which says what it refuses
    'gymnasium': {'evaluation'},  # optional, and only in gym_env.py
    'rosbags': {'bags'},
    'pyarrow': {'bags'},
    'mcap': {'bags'},
    'launch': {'ros'},  # ros/launching.py, which only the files in launch/ import
    'launch_ros': {'ros'},
}
PURE = {
    'types', 'errors', 'statistics', 'rotation', 'action_space', 'urdf', 'composition',
    'robot', 'spec', 'fit', 'graph', 'kinematics', 'actions', 'safety', 'drivers', 'bridges',
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import statement."""

    file: Path
    line: int
    target: str  # dotted, with the imported name
    top: bool  # runs when the module is imported

    def __str__(self) -> str:
        return f'{self.file.relative_to(ROOT)}:{self.line} imports {self.target}'

    @property
    def room(self) -> str:
        return self.file.relative_to(PACKAGE).with_suffix('').parts[0]

    @property
    def library(self) -> str:
        """Return the top package; message packages count as rclpy."""
        first = self.target.split('.')[0]
        return 'rclpy' if first.endswith(('_msgs', '_srvs', '_interfaces')) else first


def imports_of(file: Path) -> list[Import]:
    """Read every import of a file, those for type checkers aside."""
    tree = ast.parse(file.read_text(encoding='utf-8'))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{file}:{node.lineno}: a relative import'
            targets = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        above, top = parents[node], True
        for_types = False
        while not isinstance(above, ast.Module):
            top = top and not isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef))
            for_types |= isinstance(above, ast.If) and 'TYPE_CHECKING' in ast.dump(above.test)
            above = parents[above]
        if not for_types:
            found += [Import(file, node.lineno, target, top) for target in targets]
    return found


ALL = [i for file in sorted(PACKAGE.rglob('*.py')) for i in imports_of(file)]


def test_every_room_is_in_the_table():
    rooms = {
        p.stem for p in PACKAGE.iterdir() if p.suffix == '.py' or (p / '__init__.py').exists()
    }
    assert rooms - {'__init__'} <= MAY_IMPORT.keys() | EVERYTHING


def test_rooms_import_only_what_they_may():
    wrong = [
        str(i)
        for i in ALL
        if i.library == 'vla_ros'
        and i.room in MAY_IMPORT
        and i.target.split('.')[1] not in MAY_IMPORT[i.room] | {i.room, '__version__'}
    ]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('library', LIBRARIES)
def test_library_stays_in_its_rooms(library):
    wrong = [str(i) for i in ALL if i.library == library and i.room not in LIBRARIES[library]]
    assert not wrong, '\n'.join(wrong)


def test_commands_start_without_ros():
    """`vla --help` and the verbs that need no ROS run where ROS is absent."""
    ros = ('vla_ros.ros', 'vla_ros.nodes')
    wrong = [
        str(i)
        for i in ALL
        if i.room in EVERYTHING and i.top and (i.library == 'rclpy' or i.target.startswith(ros))
    ]
    assert not wrong, '\n'.join(wrong)


def test_cores_read_no_clock_and_no_global_random_state():
    wrong = [
        str(i)
        for i in ALL
        if i.room in PURE and i.library in {'time', 'random', 'datetime', 'secrets'}
    ]
    assert not wrong, '\n'.join(wrong)


def test_launch_files_hold_no_logic_of_ours():
    allowed = {'graph', 'config', 'paths', 'robot', 'bridges', 'ros'}
    wrong = [
        str(i)
        for file in sorted((ROOT / 'launch').rglob('*.py'))
        for i in imports_of(file)
        if i.library == 'vla_ros' and i.target.split('.')[1] not in allowed
    ]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('module', ['vla_ros.nodes.safety_filter_node', 'vla_ros.nodes.sim_node'])
def test_torch_is_not_loaded_beside_the_control_loop(module):
    """What the imports say is also what happens, indirect ones included."""
    pytest.importorskip('rclpy')
    program = f'import sys, {module}; print("torch" in sys.modules)'
    answer = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ['False']


def test_replay_runs_the_cores_of_the_nodes_without_ros():
    program = 'import sys, vla_ros.evaluation.replay.runs; print("rclpy" in sys.modules)'
    answer = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ['False']


def test_no_two_helpers_of_tests_share_a_name():
    """They are imported by their bare names, and one process runs tests of many folders."""
    shared = [p for p in (ROOT / 'test').rglob('*.py') if not p.name.startswith('test_')]
    names = Counter(p.name for p in shared if p.name != 'conftest.py')
    assert {name for name, count in names.items() if count > 1} == set()


def test_the_reader_sees_nested_and_top_imports(tmp_path):
    """The checks above rest on this reader."""
    source = tmp_path / 'module.py'
    source.write_text(
        'import torch\ndef f():\n    from rclpy.node import Node\n'
        'if TYPE_CHECKING:\n    import mujoco\ntry:\n    import launch\nexcept E:\n    pass\n'
    )
    seen = [(i.target, i.top) for i in imports_of(source)]
    assert sorted(seen) == [('launch', True), ('rclpy.node.Node', False), ('torch', True)]
