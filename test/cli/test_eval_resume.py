"""`vla eval --log` over real processes: what ends a run costs the episodes in flight alone."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

SUITE = """\
name: tiny
tasks: [reach]
first_seed: 1000000000
latencies: [0.06, 0.3, 0.5]
"""
EPISODES, CELLS = 3, 3


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / 'tiny.yaml'
    path.write_text(SUITE)
    return path


def begin(suite: Path, log: Path, *words: str) -> subprocess.Popen[str]:
    """Start the verb as a process of a group of its own."""
    program = 'from vla_ros.cli.main import main; main()'
    return subprocess.Popen(
        [
            sys.executable, '-c', program, 'eval', '--suite', str(suite), '--policy', 'expert',
            '--episodes', str(EPISODES), '--log', str(log), '--json',
            str(log.with_suffix('.json')), *words,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Return a list of processes, whose groups are ended when the test is over."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10.0)


def played(log: Path) -> int:
    return max(0, log.read_text().count('\n') - 1) if log.exists() else 0


def until_played(log: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120.0
    while played(log) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def figures(log: Path) -> dict[str, Any]:
    found = json.loads(log.with_suffix('.json').read_text())
    del found['wall_seconds'], found['speed']
    return found


def workers_of(pid: int) -> list[int]:
    """Return the worker processes that a process has spawned."""
    children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    return [
        int(child) for child in children
        if b'spawn_main' in Path(f'/proc/{child}/cmdline').read_bytes()
    ]  # fmt: skip


def test_killed_and_interrupted_runs_go_on_and_give_the_same_numbers(
    suite: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    whole, killed, log = (tmp_path / f'{name}.jsonl' for name in ('whole', 'killed', 'cut'))
    started.append(begin(suite, whole))
    assert started[-1].wait(120.0) == 0
    want = figures(whole)

    started.append(begin(suite, killed, '--workers', '2'))
    until_played(killed, 1, started[-1])
    os.kill(workers_of(started[-1].pid)[0], signal.SIGKILL)
    assert started[-1].wait(120.0) == 0, 'a worker that was killed costs its episode a second try'
    assert figures(killed) == want

    started.append(begin(suite, log, '--workers', '2'))
    until_played(log, 1, started[-1])
    os.killpg(started[-1].pid, signal.SIGKILL)
    started[-1].wait(10.0)
    after_kill = played(log)
    assert 1 <= after_kill < EPISODES * CELLS

    started.append(begin(suite, log))
    until_played(log, after_kill + 2, started[-1])
    started[-1].send_signal(signal.SIGINT)
    started[-1].communicate(timeout=60.0)
    assert started[-1].returncode != 0
    after_interrupt = played(log)
    assert after_interrupt >= after_kill + 2
    kept = log.read_text().splitlines()[: 1 + after_interrupt]

    started.append(begin(suite, log, '--workers', '2'))
    assert started[-1].wait(120.0) == 0
    assert figures(log) == want
    lines = log.read_text().splitlines()
    assert lines[: len(kept)] == kept, 'what was kept is not written anew'
    assert len(lines) == len(set(lines)) == 1 + EPISODES * CELLS, 'no episode is played twice'
