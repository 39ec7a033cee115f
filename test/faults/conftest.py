"""Graphs of real processes, one for each group of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from pathlib import Path
import random
import sys

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.importorskip('rclpy')

from cell import Cell, HERE, programs
from remote import Remote, remote_programs
from table import Table, table_programs

from vla_ros import paths
from vla_ros.cli.session import free_domain
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot


@contextmanager
def running(make: Callable[[Client], Cell]) -> Iterator[Cell]:
    """Run a cell in a domain of its own."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        client = stack.enter_context(Client('faults'))
        cell = make(client)
        stack.callback(cell.close)
        cell.start()
        yield cell


def small(robot: str, **kinds: bool) -> Callable[[Client], Cell]:
    """Return what makes a cell without simulator."""
    spec = load_robot(paths.find('robots', robot))
    return lambda client: Cell(client, programs(robot, **kinds), spec)


@pytest.fixture(scope='module')
def started() -> Iterator[Callable[[str, Callable[[Client], Cell]], Cell]]:
    """Return what starts a cell by its name, once, and ends the one before.

    Several at once take more than two cores, and then none keeps time.
    """
    with ExitStack() as stack:
        kept: dict[str, Cell] = {}

        def start(name: str, make: Callable[[Client], Cell]) -> Cell:
            if name not in kept:
                kept.clear()
                stack.close()
                kept[name] = stack.enter_context(running(make))
            return kept[name]

        yield start


@pytest.fixture
def plain(started: Callable[..., Cell]) -> Cell:
    """The filter's process as it ships."""
    return started('plain', small('panda'))


@pytest.fixture
def sabotaged(started: Callable[..., Cell]) -> Cell:
    """A filter that follows /clock and can be broken from inside."""
    return started('sabotaged', small('panda', simulated=True, sabotaged=True))


@pytest.fixture
def guarded(started: Callable[..., Cell]) -> Cell:
    """An arm behind the forwarder, that moves only while a dead-man switch is pressed."""
    return started('guarded', small(str(HERE / 'guarded.yaml')))


@pytest.fixture
def table(started: Callable[..., Cell]) -> Cell:
    """The learned policy in the simulated world."""
    return started('table', lambda client: Table(client, table_programs()))


@pytest.fixture(scope='module')
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A policy node whose policy is on a server."""
    folder = tmp_path_factory.mktemp('remote')
    with running(lambda client: Remote(client, remote_programs(folder))) as cell:
        yield cell
