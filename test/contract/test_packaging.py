"""Both ROS packages: what they name exists, and a workspace finds and builds them."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

import vla_ros
from vla_ros import paths

ROOT = Path(__file__).resolve().parents[2]
# Message packages that only other messages name, and what launch files need where ROS 2 is whole.
NOT_IMPORTED = {'action_msgs', 'builtin_interfaces', 'launch', 'launch_ros', 'vla_ros_msgs'}

pytestmark = pytest.mark.skipif(
    paths.share() != ROOT, reason='looks at a checkout; this vla_ros is installed'
)


def manifest(folder: Path) -> ElementTree.Element:
    return ElementTree.parse(folder / 'package.xml').getroot()


@pytest.mark.parametrize('folder', [ROOT, ROOT / 'msg'])
def test_manifest_is_complete(folder):
    root = manifest(folder)
    maintainer = root.find('maintainer')
    assert re.fullmatch(r'[^@\s]+@[^@\s]+\.[a-z]+', maintainer.get('email'))
    assert root.findtext('license') == 'Apache-2.0'
    assert root.findtext('version') == vla_ros.__version__


def test_versions_agree():
    assert metadata.version('vla_ros') == vla_ros.__version__
    assert f'## {vla_ros.__version__}' in (ROOT / 'CHANGELOG.md').read_text()


def test_every_ros_import_is_declared():
    """What the code imports from ROS, package.xml names, and the other way round."""
    declared = {entry.text for entry in manifest(ROOT).findall('exec_depend')}
    source = '\n'.join(file.read_text() for file in (ROOT / 'vla_ros').rglob('*.py'))
    pattern = r'\b(rclpy|[a-z_]+_(?:msgs|srvs|interfaces))(?=[./ ])'
    used = set(re.findall(r'(?:from|import) ' + pattern, source))
    used |= set(re.findall(r"'" + pattern, source))
    ros = {name for name in declared if not name.startswith('python3-') and name != 'pinocchio'}
    assert used - ros == set()
    assert ros - used <= NOT_IMPORTED


def test_every_interface_is_built():
    """CMake's list and the folders hold the same files."""
    listed = set(
        re.findall(r'(?:msg|srv|action)/\w+\.\w+', (ROOT / 'msg/CMakeLists.txt').read_text())
    )
    there = {
        str(file.relative_to(ROOT / 'msg'))
        for kind in ('msg', 'srv', 'action')
        for file in (ROOT / 'msg' / kind).iterdir()
    }
    assert listed == there


def test_every_field_has_its_unit_or_meaning():
    bare = [
        f'{file.name}: {line}'
        for file in (ROOT / 'msg').rglob('*.*')
        if file.suffix in {'.msg', '.srv', '.action'}
        for line in file.read_text().splitlines()
        if re.match(r'float(32|64)', line) and not re.search(r'# .*\[[^\]]+\]', line)
    ]
    assert not bare


@pytest.mark.parametrize(
    'script',
    [s for s in metadata.entry_points(group='console_scripts') if s.module.startswith('vla_ros.')],
    ids=lambda s: s.name,
)
def test_entry_points_import(script):
    pytest.importorskip('rclpy')
    assert callable(script.load())


def test_entry_points_serve_the_graph():
    """Every executable of graph.py is a console script of the same module."""
    from vla_ros.graph import processes
    from vla_ros.robot import load_robot

    scripts = {s.name: s.value for s in metadata.entry_points(group='console_scripts')}
    robot = load_robot(paths.find('robots', 'panda'))
    for process in processes(robot, simulated=True):
        assert scripts[process.executable] == f'{process.module}:main'
        import_module(process.module)


@pytest.fixture
def workspace(tmp_path):
    """Lay out the workspace of the README, with another package beside ours.

    src/vla_ros is a copy of what git would clone, src/vla_ros_msgs a link into it.
    """
    source = tmp_path / 'src'
    ours = source / 'vla_ros'
    names = (
        'package.xml',
        'setup.py',
        'setup.cfg',
        'pyproject.toml',
        'resource',
        'vla_ros',
        'msg',
        'launch',
        'config',
        'urdf',
    )
    for name in names:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, ours / name, ignore=shutil.ignore_patterns('__pycache__'))
        elif place.exists():
            ours.mkdir(parents=True, exist_ok=True)
            shutil.copy(place, ours)
    other = source / 'other'
    other.mkdir()
    (other / 'package.xml').write_text(
        '<package format="3"><name>other</name><version>0.0.0</version><description/>'
        '<maintainer email="a@b.org">a</maintainer><license>none</license>'
        '<export><build_type>ament_python</build_type></export></package>'
    )
    (other / 'setup.py').write_text("from setuptools import setup\nsetup(name='other')\n")
    return tmp_path


def colcon(workspace: Path, *words: str) -> str:
    """Run colcon in the workspace and return what it printed."""
    answer = subprocess.run(
        [sys.executable, '-m', 'colcon', '--log-base', 'log', *words],
        cwd=workspace,
        timeout=250,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_colcon_needs_help_to_find_both(workspace):
    """The reason for the README's link: colcon does not look inside a package."""
    pytest.importorskip('colcon_core')
    assert colcon(workspace, 'list', '--names-only').split() == ['other', 'vla_ros']


@pytest.mark.parametrize('way', ['link', 'base_paths'])
def test_workspace_finds_both_packages(workspace, way):
    pytest.importorskip('colcon_core')
    options = []
    if way == 'link':
        (workspace / 'src/vla_ros_msgs').symlink_to('vla_ros/msg')
    elif way == 'base_paths':
        options = ['--base-paths', 'src', 'src/vla_ros/msg']
    found = colcon(workspace, 'list', '--names-only', *options).split()
    assert found == ['other', 'vla_ros', 'vla_ros_msgs']


@pytest.mark.timeout(300)  # seconds on an idle core, minutes on a busy one
def test_workspace_builds_installs_and_tests_vla_ros(workspace):
    """colcon puts the package, its files and its executables where ROS 2 looks for them."""
    pytest.importorskip('colcon_core')
    tests = workspace / 'src/vla_ros/test'  # one file of them, for the time that all take
    tests.mkdir()
    for name in ('conftest.py', 'test_statistics.py'):
        shutil.copy(ROOT / 'test' / name, tests)
    colcon(workspace, 'build')
    colcon(workspace, 'test')
    said = colcon(workspace, 'test-result', '--verbose')
    found = re.search(r'Summary: (\d+) tests, 0 errors, 0 failures', said)
    assert found, said
    assert int(found[1]) > 5
    prefix = workspace / 'install' / 'vla_ros'
    for file in (
        'share/ament_index/resource_index/packages/vla_ros',
        'share/vla_ros/package.xml',
        'share/vla_ros/config/robots/panda.yaml',
        'share/vla_ros/urdf/panda.urdf',
        *(f'share/vla_ros/launch/{file.name}' for file in (ROOT / 'launch').glob('*.launch.py')),
        'share/vla_ros/config/gazebo/table.sdf',
        'share/vla_ros/config/isaac/stage.py',
        'lib/vla_ros/policy_node',
        'lib/vla_ros/safety_filter_node',
        'lib/vla_ros/sim_node',
        'lib/vla_ros/vla',
    ):
        assert (prefix / file).is_file(), file
    site = next(prefix.glob('lib/python3*/site-packages'))
    program = 'from vla_ros import paths; print(paths.share())'
    answer = subprocess.run(
        [sys.executable, '-c', program],
        cwd=workspace,
        timeout=30,
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONPATH': str(site), 'AMENT_PREFIX_PATH': str(prefix)},
    )
    assert Path(answer.stdout.strip()) == prefix / 'share' / 'vla_ros'
