"""Builds .venv: `python tools/setup`. A step runs only where what it depends on has changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
import hashlib
import json
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import NamedTuple

from interfaces import build_interfaces, SOURCES
import prerequisites

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
LOGS = ROOT / 'build'
DONE = VENV / 'setup.json'  # step -> key of the inputs that it was done with
DIRECT = ROOT / 'requirements' / 'direct.txt'
LOCK = ROOT / 'requirements' / 'lock.txt'


class Step(NamedTuple):
    """A part of the set-up that is done again only when its key changes."""

    name: str
    key: str
    title: str
    act: Callable[[], None]


def main() -> int:
    """Run every step that is due; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--torch-index', help='package index to take torch from; kept till changed'
    )
    given = parser.parse_args().torch_index
    torch_index = done().get('torch_index', '') if given is None else given
    due = [step for step in steps(torch_index) if done().get(step.name) != step.key]
    absent = prerequisites.missing() if due else []
    if absent:
        print('make setup: ' + '\nmake setup: '.join(absent), file=sys.stderr)
        return 1
    for number, step in enumerate(due, 1):
        print(f'[{number}/{len(due)}] {step.title}', flush=True)
        log_of(step.name).unlink(missing_ok=True)
        start = time.monotonic()
        try:
            step.act()
        except subprocess.CalledProcessError as error:
            log = log_of(step.name).relative_to(ROOT)
            print(
                f'make setup: {step.name} failed (exit {error.returncode}); all of its output '
                f'is in {log}',
                file=sys.stderr,
            )
            return 1
        record = {**done(), 'torch_index': torch_index, step.name: step.key}
        DONE.write_text(json.dumps(record, indent=2) + '\n')
        print(f'      done in {time.monotonic() - start:.0f} s', flush=True)
    return 0


def steps(torch_index: str) -> list[Step]:
    """Return every step in order; the key of each holds those that it builds on."""
    python = getattr(sys, '_base_executable', sys.executable)
    version = platform.python_version()
    environment = key([], version, str(Path(python).resolve()), str(VENV))
    packages = key([DIRECT, LOCK], environment, torch_index)
    files = [p for source in SOURCES for p in source.rglob('*') if p.is_file()]
    interfaces = key(files, packages)
    package = key([ROOT / n for n in ('setup.py', 'setup.cfg')], packages)
    return [
        Step(
            'venv',
            environment,
            f'Python {version} environment in .venv',
            lambda: run('venv', [python, '-m', 'venv', '--clear', str(VENV)]),
        ),
        Step(
            'packages',
            packages,
            'pinned packages (1 to 6 minutes, most of it downloads)',
            lambda: install_packages(torch_index),
        ),
        Step(
            'interfaces',
            interfaces,
            'colcon build of vla_ros_msgs and control_msgs (a minute)',
            lambda: build_interfaces(
                VENV,
                VENV / 'colcon',
                lambda command, variables: run('interfaces', command, variables),
            ),
        ),
        Step('vla_ros', package, 'vla_ros itself', install_vla_ros),
        Step(
            'core',
            key((ROOT / 'vla_ros' / 'safety').glob('*.py'), package),
            'compiled core of the safety filter (half a minute)',
            lambda: run('core', [str(VENV / 'bin' / 'python'), '-m', 'vla_ros.safety']),
        ),
    ]


def key(files: Iterable[Path], *words: str) -> str:
    """Return a hash of the words and of the names and content of the files."""
    digest = hashlib.sha256('\0'.join(words).encode())
    for file in sorted(files):
        digest.update(f'\0{file.name}\0'.encode() + file.read_bytes())
    return digest.hexdigest()


def done() -> dict[str, str]:
    """Return the steps that are done, with their keys; none where .venv is new or broken."""
    try:
        return json.loads(DONE.read_text())
    except (OSError, ValueError):
        return {}


def log_of(step: str) -> Path:
    """Return the file that keeps a step's output."""
    return LOGS / f'{step}.log'


def run(step: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command with its output in the step's log; show the end of it if it fails."""
    log = log_of(step)
    log.parent.mkdir(exist_ok=True)
    with log.open('a') as stream:
        stream.write(f'$ {" ".join(command)}\n')
        stream.flush()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        while (status := wait(process)) is None:
            show(log)
    show(None)
    if status:
        print('\n'.join(log.read_text(errors='replace').splitlines()[-30:]), file=sys.stderr)
        raise subprocess.CalledProcessError(status, command)


def wait(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit status, or None after a second."""
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return None


def show(log: Path | None) -> None:
    """Show the last line of a log in place, where there is a terminal; None clears it."""
    if sys.stdout.isatty():
        lines = log.read_text(errors='replace').split('\n') if log else []
        last = next((line for line in reversed(lines) if line.strip()), '').strip()
        print(f'\r\033[K      {last[:72]}' if last else '\r\033[K', end='', flush=True)


def install_packages(torch_index: str) -> None:
    """Install the pinned packages and say which torch they brought."""
    pip = [str(VENV / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check', 'install']
    if torch_index:
        pin = next(
            line.split()[0]
            for line in DIRECT.read_text().splitlines()
            if line.startswith('torch==')
        )
        run('packages', [*pip, '--upgrade', '--no-deps', '--index-url', torch_index, pin])
    run('packages', [*pip, '-r', str(DIRECT), '-c', str(LOCK)])
    query = (
        'import torch; cuda = torch.version.cuda; '
        'print(f"torch {torch.__version__},", f"CUDA {cuda} build" if cuda else "CPU build")'
    )
    answer = subprocess.run(
        [str(VENV / 'bin' / 'python'), '-c', query], capture_output=True, text=True, check=True
    )
    print(f'      {answer.stdout.strip()}')


def install_vla_ros() -> None:
    """Install this checkout, so that editing it needs no new install."""
    run(
        'vla_ros',
        [
            str(VENV / 'bin' / 'python'),
            '-m',
            'pip',
            '--disable-pip-version-check',
            'install',
            '--no-deps',
            '--no-build-isolation',
            '--editable',
            str(ROOT),
        ],
    )


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
