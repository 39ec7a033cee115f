"""The supervisor over real processes: prefixes, ends, and what outlives nothing."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from vla_ros import paths, supervisor
from vla_ros.errors import VlaError
from vla_ros.robot import load_robot
from vla_ros.supervisor import Command, Supervisor

LIMIT = 30.0  # bound of every wait [s]
SLEEP = 'import time\nprint("up", flush=True)\ntime.sleep(60)'
STUBBORN = (
    'import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n'
    'print("up", flush=True)\ntime.sleep(60)'
)


def python(name: str, code: str, critical: bool = True) -> Command:
    return Command(name, (sys.executable, '-S', '-E', '-c', code), critical)


def run(*commands: Command) -> tuple[Supervisor, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    return Supervisor(commands, write=lambda name, line: lines.append((name, line))), lines


def until(done) -> None:
    deadline = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < deadline, 'it did not happen in time'
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_dead_critical_process_ends_the_others():
    jobs, lines = run(python('arm', SLEEP), python('filter', 'raise SystemExit(3)'))
    with jobs:
        ended = jobs.wait()
        pid = jobs.pid('arm')
    assert (ended.name, ended.status) == ('filter', 3)
    assert str(ended) in [line for name, line in lines if name == 'filter']
    assert gone(pid)


def test_an_uncritical_process_may_die():
    jobs, lines = run(python('arm', SLEEP), python('policy', 'print("bye")', critical=False))
    with jobs:
        died = lambda: ('policy', 'policy ended with status 0') in lines  # noqa: E731
        assert jobs.wait(done=died) is None
        assert died()
        assert not gone(jobs.pid('arm'))


def test_logs_carry_the_name_of_their_process():
    jobs, lines = run(python('one', 'print("a\\nb")'), python('two', 'print("c")'))
    with jobs:
        until(lambda: {('one', 'a'), ('one', 'b'), ('two', 'c')} <= set(lines))
    assert lines.index(('one', 'a')) < lines.index(('one', 'b'))


def test_stop_ends_children_that_ignore_signals_or_are_frozen(monkeypatch):
    monkeypatch.setattr(supervisor, 'GRACE', 0.3)
    jobs, lines = run(python('stubborn', STUBBORN), python('frozen', SLEEP))
    with jobs:
        until(lambda: len(lines) >= 2)
        jobs.signal('frozen', signal.SIGSTOP)
    status = jobs.stop()
    assert status['stubborn'] == -signal.SIGKILL
    assert status['frozen'] == -signal.SIGINT or status['frozen'] == 1  # KeyboardInterrupt
    assert gone(jobs.pid('stubborn'))
    assert gone(jobs.pid('frozen'))


def test_grandchildren_end_too():
    code = (
        'import subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])\n'
        'print(child.pid, flush=True)\ntime.sleep(60)'
    )
    jobs, lines = run(python('parent', code))
    with jobs:
        until(lambda: lines)
    until(lambda: gone(int(lines[0][1])))


def test_what_cannot_start_is_one_clear_error():
    jobs, _ = run(python('first', SLEEP), Command('second', ('/no/such/program',)))
    with pytest.raises(VlaError, match='second'), jobs:
        raise AssertionError('unreachable')
    until(lambda: gone(jobs.pid('first')))


def test_signal_to_a_process_that_is_not_there():
    jobs, _ = run()
    with pytest.raises(VlaError, match='nobody'):
        jobs.signal('nobody', signal.SIGSTOP)


def test_commands_follow_the_graph():
    robot = load_robot(paths.find('robots', 'panda'))
    made = supervisor.commands(
        robot, {'robot': 'panda', 'seed': 7, 'policy': 'hold'}, without=('sim',)
    )
    assert [c.name for c in made] == ['safety_filter', 'policy']
    policy = made[1].argv
    assert policy[1:3] == ('-m', 'vla_ros.nodes.policy_node')
    assert policy[policy.index('--ros-args') :] == (
        '--ros-args', '-p', "robot:='panda'", '-p', "policy:='hold'", '-p', 'seed:=7'
    )  # fmt: skip
    assert [c.critical for c in made] == [True, False]
