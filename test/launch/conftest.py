"""Launch files, described and run by the real launch and launch_ros where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import importlib.util
from pathlib import Path
import tempfile
import threading
from types import ModuleType
from typing import Any

import pytest

from vla_ros import paths

FOLDER = paths.share() / 'launch'
LIMIT = 300.0  # bound of the wait for every node [s]: the first start compiles the safety core


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Let what is written for Gazebo go to the test's own folder."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))


@pytest.fixture
def described() -> Callable[..., tuple[ModuleType, Any, Any]]:
    """Return what describes a file: its module, its description, and a context with arguments."""
    launch = pytest.importorskip('launch')
    pytest.importorskip('launch_ros')

    def describe(name: str, **arguments: str) -> tuple[ModuleType, Any, Any]:
        spec = importlib.util.spec_from_file_location(
            f'{name}_launch', FOLDER / f'{name}.launch.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        description = module.generate_launch_description()
        for entity in description.entities:
            if isinstance(entity, launch.actions.DeclareLaunchArgument):
                entity.execute(context)
        return module, description, context

    return describe


@pytest.fixture
def words() -> Callable[[Any, Any], list[str]]:
    """Return what tells the words of a process's command line, without a node's executable.

    The packages that we do not bring need not be there.
    """
    node = pytest.importorskip('launch_ros.actions').Node

    def perform(action: Any, context: Any) -> list[str]:
        command = action.cmd[1:] if isinstance(action, node) else action.cmd
        return [''.join(part.perform(context) for part in argument) for argument in command]

    return perform


@pytest.fixture
def run(described, monkeypatch) -> Callable[..., dict[str, int]]:
    """Return what runs a file, does something beside it, ends it, and tells each exit status."""
    from ament_index_python.packages import get_package_prefix, PackageNotFoundError
    from launch.actions import GroupAction, IncludeLaunchDescription, RegisterEventHandler
    from launch.event_handlers import OnProcessExit
    from launch_ros.actions import PushRosNamespace

    from launch import LaunchDescription, LaunchDescriptionSource, LaunchService

    try:
        prefix = Path(get_package_prefix('vla_ros'))
    except PackageNotFoundError:
        pytest.skip('vla_ros is not installed by colcon here')
    if not (prefix / 'lib' / 'vla_ros' / 'sim_node').exists():
        pytest.skip('vla_ros is not installed by colcon here')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', '92')

    def go(
        name: str, beside: Callable[[], None], arguments: Mapping[str, str], pushed: str = ''
    ) -> dict[str, int]:
        """Return the status of each process by its name; `beside` runs in a thread.

        Args:
            name: Of the launch file.
            beside: What looks at the nodes; the launch ends with it.
            arguments: Of the launch file.
            pushed: Namespace that the including file pushes.
        """
        _, description, _ = described(name)
        ended: dict[str, int] = {}
        failed: list[BaseException] = []
        source = LaunchDescriptionSource(description)
        included = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        whole = [PushRosNamespace(pushed), included] if pushed else [included]
        on_exit = OnProcessExit(
            on_exit=lambda e, _: ended.update({e.process_name.rpartition('-')[0]: e.returncode})
        )
        service = LaunchService(noninteractive=True)
        service.include_launch_description(
            LaunchDescription([RegisterEventHandler(on_exit), GroupAction(whole)])
        )

        def probe() -> None:
            try:
                beside()
            except BaseException as error:
                failed.append(error)
            finally:
                service.shutdown()

        thread = threading.Thread(target=probe)
        thread.start()
        status = service.run()
        thread.join(LIMIT)
        if failed:
            raise failed[0]
        assert status == 0
        return ended

    return go
