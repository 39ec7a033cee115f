"""Verbs that start processes: they say what happened, write what they promise, leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import sys
import time

import cv2
import pytest

from vla_ros.cli.session import DOMAINS, free_domain
from vla_ros.errors import NodeError

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

VLA = (sys.executable, '-c', 'from vla_ros.cli.main import main; main()')
DEMO_KEYS = {
    'success', 'instruction', 'seed', 'sim_seconds', 'wall_seconds', 'chunks', 'control_ticks',
    'missed_ticks', 'max_safety_level', 'min_barrier_m',
}  # fmt: skip


@pytest.fixture
def environment() -> dict[str, str]:
    domain = str(free_domain(random.Random()))
    return {
        **os.environ,
        'ROS_DOMAIN_ID': domain,
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that live."""
    found = set()
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != 'Z':
            found.add(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def test_demo_writes_what_it_promises_and_fails_where_nothing_moves(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / 'demo'
    done = subprocess.run(
        [*VLA, 'demo', '--policy', 'hold', '--seed', '7', '--out', str(out), '--json', '-'],
        env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert 'FAILURE' in done.stderr, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((out / 'summary.json').read_text())
    assert set(summary) >= DEMO_KEYS
    assert not summary['success']
    assert summary['seed'] == 7
    assert summary['control_ticks'] > 1000
    assert summary['min_barrier_m'] > 0.0
    video = cv2.VideoCapture(str(out / 'demo.mp4'))
    seconds = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    assert seconds == pytest.approx(summary['sim_seconds'], rel=0.4)
    assert cv2.imread(str(out / 'plot.png')) is not None
    assert 'seed 7' in done.stderr


@pytest.fixture
def up(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*VLA, 'up', '--policy', 'hold', '--json', '-'],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_ends_everything_it_started(up: subprocess.Popen[str], number: int) -> None:
    deadline = time.monotonic() + 30.0
    while len(started := children(up.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(started) == 3
    time.sleep(1.0)
    up.send_signal(number)
    output, _ = up.communicate(timeout=40)
    expected = {signal.SIGINT: 0, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -number}
    assert up.returncode == expected[number]
    if number == signal.SIGINT:
        assert json.loads(output) == {'ok': True, 'ended': None}
    while any(alive(pid) for pid in started) and time.monotonic() < deadline + 30.0:
        time.sleep(0.1)
    assert not [pid for pid in started if alive(pid)]


def test_say_without_a_graph_is_one_clear_error(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*VLA, 'say', 'reach the ball'],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith('Error: waited')
    assert 'vla up' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_domain_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        domain = free_domain(random.Random(3))
        taken.bind(('', 7410 + 250 * domain))
        monkeypatch.setattr('vla_ros.cli.session.DOMAINS', range(domain, domain + 1))
        with pytest.raises(NodeError, match='in use'):
            free_domain(random.Random(3))
    assert domain in DOMAINS
