"""Supervised processes: started together, logs with a prefix, ended together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import ctypes
from dataclasses import dataclass, field
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from vla_ros.errors import VlaError
from vla_ros.graph import processes
from vla_ros.robot import RobotSpec

GRACE = 5.0  # [s] from SIGINT to SIGTERM, and from there to SIGKILL
POLL = 0.05  # [s]
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PRCTL = getattr(ctypes.CDLL(None), 'prctl', None)  # Linux only; loaded before any fork


@dataclass(frozen=True)
class Command:
    """One process to run."""

    name: str  # prefix of its log
    argv: tuple[str, ...]
    critical: bool = True  # its end ends all others


@dataclass(frozen=True)
class Ended:
    """A process that ended before it was asked to."""

    name: str
    status: int  # exit status; negative: the signal that killed it
    critical: bool

    def __str__(self) -> str:
        if self.status >= 0:
            return f'{self.name} ended with status {self.status}'
        return f'{self.name} was killed by {signal.Signals(-self.status).name}'


def commands(
    robot: RobotSpec,
    arguments: Mapping[str, str | int | float | bool],
    *,
    simulated: bool = True,
    without: Sequence[str] = (),
) -> tuple[Command, ...]:
    """Return the commands that start the graph of a robot.

    Args:
        robot: The arm.
        arguments: Values of the launch arguments that graph.py names; a process gets those that
            it takes.
        simulated: Whether the simulator stands in for the cell.
        without: Names of nodes that are not started.
    """
    made = []
    for process in processes(robot, simulated):
        left_out = process.wanted and not arguments.get(process.wanted)
        if left_out or process.node in without:
            continue
        given = {key: arguments[key] for key in process.parameters if key in arguments}
        parameters = [
            part for key, value in given.items() for part in ('-p', f'{key}:={_yaml(value)}')
        ]
        ros = ('--ros-args', *parameters) if parameters else ()
        python = str(arguments.get(process.interpreter) or sys.executable)
        argv = (python, '-m', process.module, *ros)
        made.append(Command(process.node, argv, process.critical))
    return tuple(made)


def _yaml(value: str | int | float | bool) -> str:
    """Return a parameter value for the command line; quoted, so that '1' stays text."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


@dataclass
class Supervisor:
    """Runs processes until one that is critical ends, or until `stop`.

    Use it as a context manager: leaving the block ends every process, whatever happened.
    """

    commands: tuple[Command, ...]
    write: Callable[[str, str], None]  # takes name and line; called from several threads
    environment: Mapping[str, str] | None = None  # None: this process's own
    _running: dict[str, subprocess.Popen[str]] = field(default_factory=dict, init=False)
    _readers: list[threading.Thread] = field(default_factory=list, init=False)
    _reported: set[str] = field(default_factory=set, init=False)

    def __enter__(self) -> Supervisor:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every process in a group of its own, so that Ctrl-C reaches only us.

        Raises:
            VlaError: A process cannot be started.
        """
        for command in self.commands:
            try:
                child = subprocess.Popen(
                    command.argv,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    text=True,
                    errors='replace',
                    env=None if self.environment is None else dict(self.environment),
                    start_new_session=True,
                    preexec_fn=_prepare_child,
                )
            except OSError as error:
                raise VlaError(f'cannot start {command.name}: {error}.') from error
            self._running[command.name] = child
            assert child.stdout is not None
            reader = threading.Thread(
                target=self._copy, args=(command.name, child.stdout), daemon=True
            )
            reader.start()
            self._readers.append(reader)

    def poll(self) -> list[Ended]:
        """Return the processes that ended since the last call."""
        ended = []
        for command in self.commands:
            child = self._running.get(command.name)
            if child is None or command.name in self._reported:
                continue
            status = child.poll()
            if status is not None:
                self._reported.add(command.name)
                ended.append(Ended(command.name, status, command.critical))
        return ended

    def wait(self, done: Callable[[], bool] = lambda: False) -> Ended | None:
        """Return the critical process that ended, or None once `done()` or all have ended."""
        while not done():
            for ended in self.poll():
                self.write(ended.name, str(ended))
                if ended.critical:
                    return ended
            if len(self._reported) == len(self._running):
                return None
            time.sleep(POLL)
        return None

    def signal(self, name: str, number: int) -> None:
        """Send one process a signal.

        Raises:
            VlaError: No such process is running.
        """
        child = self._running.get(name)
        if child is None or child.poll() is not None:
            raise VlaError(f"no process '{name}' is running; {', '.join(self._running)} started.")
        child.send_signal(number)

    def pid(self, name: str) -> int:
        """Return the process id of a process that was started."""
        return self._running[name].pid

    def stop(self) -> dict[str, int]:
        """End what still runs: SIGINT, then SIGTERM, then SIGKILL; return every exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            alive = [child for child in self._running.values() if child.poll() is None]
            for child in alive:
                _signal_group(child, number)
            deadline = time.monotonic() + GRACE
            for child in alive:
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        for reader in self._readers:
            reader.join(GRACE)
        return {name: child.wait() for name, child in self._running.items()}

    def _copy(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.write(name, line.rstrip('\n'))


def _prepare_child() -> None:
    """Hear SIGINT, which a shell's background jobs ignore, and die when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _signal_group(child: subprocess.Popen[str], number: int) -> None:
    """Signal a process and those that it started; a stopped one is woken so that it can end."""
    try:
        os.killpg(child.pid, number)
        os.killpg(child.pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
