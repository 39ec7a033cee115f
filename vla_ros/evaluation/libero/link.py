"""Our side of LIBERO's process: start it, ask it, end it."""

from __future__ import annotations

from contextlib import suppress
import json
from math import prod
import os
from pathlib import Path
import select
import subprocess
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np

from vla_ros.errors import SimulationError

PROGRAM = Path(__file__).with_name('world.py')
PATIENCE = 1800.0  # [s] for one answer: without a GPU a world takes minutes to load


class Look(NamedTuple):
    """What LIBERO shows after some actions."""

    steps: int  # done of those that were asked for
    done: bool  # the task succeeded
    moved: float  # [m] |dx| + |dy| + |dz| that an obstacle was away from its place
    obstacles: int  # that stand in the workspace
    arrays: dict[str, np.ndarray]  # scene, wrist; eef_pos, eef_quat xyzw, gripper_qpos


class Task(NamedTuple):
    """One task of a suite."""

    name: str
    sentence: str
    states: int  # initial states


class LiberoProcess:
    """LIBERO in another Python, which plays one suite."""

    def __init__(
        self, python: str, suite: str, level: str | None, patience: float = PATIENCE
    ) -> None:
        """Start it and read the tasks.

        Args:
            python: Interpreter that has LIBERO.
            suite: Its name there.
            level: I or II of SafeLIBERO; None otherwise.
            patience: For one answer [s].

        Raises:
            SimulationError: It does not start or has no LIBERO; the message says what to do.
        """
        self._patience, self._python = patience, python
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {'MUJOCO_GL': 'egl', 'PYOPENGL_PLATFORM': 'egl', **os.environ}
        try:
            self._process = subprocess.Popen(
                [python, str(PROGRAM)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                bufsize=0, env=environment,
            )  # fmt: skip
        except OSError as error:
            raise SimulationError(
                f'cannot start {python}: {error.strerror}; name the Python that has LIBERO.'
            ) from error
        try:
            value, _ = self._ask(verb='open', suite=suite, level=level)
        except SimulationError as error:
            self.close()
            raise SimulationError(
                f'{error} Is LIBERO there? Install it into an environment of its own (pip install '
                'hf-libero, or a checkout on PYTHONPATH), import libero.libero there once, which '
                'asks where its data are, and name the Python of that environment by --python.'
            ) from error
        self.tasks = [Task(**task) for task in value]

    def begin(self, task: int, index: int, seed: int) -> Look:
        """Lay out an episode from an initial state and let it come to rest."""
        return self._look(verb='begin', task=task, index=index, seed=seed)

    def act(self, actions: np.ndarray) -> Look:
        """Do actions (K, 7) one after another, until success."""
        return self._look(verb='act', actions=actions.tolist())

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            pipe.close()

    def _look(self, **request: Any) -> Look:
        value, arrays = self._ask(**request)
        return Look(**value, arrays=arrays)

    def _ask(self, **request: Any) -> tuple[Any, dict[str, np.ndarray]]:
        assert self._process.stdin is not None
        end = time.monotonic() + self._patience
        try:
            self._process.stdin.write(json.dumps(request).encode() + b'\n')
        except OSError:
            raise SimulationError(f"LIBERO's process ended: {self._last()}") from None
        line = b''
        while not line.endswith(b'\n'):
            line += self._read(1, end)
        answer = json.loads(line)
        if 'error' in answer:
            raise SimulationError(f'LIBERO in {self._python} failed: {answer["error"]}.')
        arrays = {}
        for name, (dtype, shape) in answer['arrays'].items():
            data = self._read(prod(shape) * np.dtype(dtype).itemsize, end)
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        return answer['value'], arrays

    def _read(self, size: int, end: float) -> bytes:
        assert self._process.stdout is not None
        pipe, data = self._process.stdout.fileno(), b''
        while len(data) < size:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise SimulationError(f'LIBERO gave no answer within {self._patience:g} s.')
            part = os.read(pipe, size - len(data))
            if not part:
                raise SimulationError(f"LIBERO's process ended: {self._last()}")
            data += part
        return data

    def _last(self) -> str:
        """Return the last line that it wrote."""
        self._log.seek(0)
        lines = self._log.read().decode(errors='replace').strip().splitlines()
        return lines[-1] if lines else 'without a word.'
