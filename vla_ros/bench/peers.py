"""The peers: an environment of their own, made on demand, and a worker process for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import hashlib
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile

import numpy as np

from vla_ros import paths
from vla_ros.bench import bare
from vla_ros.bench.cost import beside
from vla_ros.bench.recording import Recording
from vla_ros.bench.timing import Peer, summarise
from vla_ros.kinematics import Kinematics
from vla_ros.safety import SafetyFilter
from vla_ros.safety.world import rotation
from vla_ros.types import Array

WORKER = Path(__file__).with_name('peer_worker.py')
LIMIT = 600.0  # [s] for one peer
LATEST = 900.0  # [s] for the installation
SINGLE = {  # one thread, as ours; the rest is what cbfpy recommends for a CPU
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'JAX_ENABLE_X64': '1',
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1',
}
PEERS = {  # name in the worker -> what it is
    'aegis': "AEGIS's ellipsoid QP, cvxpy and OSQP, hand only, a new problem each time",
    'aegis_dpp': 'the same, one problem with parameters',
    'cbfpy': 'cbfpy, the same barriers in JAX, solver elastiqp, which it recommends for a CPU',
    'cbfpy_qpax': 'the same with its default solver, qpax',
    'proxqp': 'rows and box of our kernel, ProxQP',
}

Told = Callable[[str], None]


class Environment:
    """The virtual environment of requirements/peers.txt under a folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; nothing is made yet."""
        self._folder = folder
        self.python = folder / 'bin' / 'python'

    def make(self, told: Told) -> str:
        """Install what is missing; return why it could not, '' if it could."""
        wanted = paths.share() / 'requirements' / 'peers.txt'
        if not wanted.exists():
            return f'not installed: {wanted} is part of a checkout only'
        digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
        mark = self._folder / 'made_from'
        if mark.exists() and mark.read_text() == digest and self.python.exists():
            return ''
        pip = [str(self.python), '-m', 'pip', 'install', '--progress-bar', 'off', '-r']
        for text, command in (
            ('making an environment', [sys.executable, '-m', 'venv', str(self._folder)]),
            ('installing the peers (400 MB)', [*pip, str(wanted)]),
        ):
            told(text)
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=LATEST, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f'not installed: {error}'
            if done.returncode != 0:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                return f'not installed: {"".join(last)}'
        mark.write_text(digest)
        return ''


def run_peers(
    recording: Recording, environment: Environment, first: int, count: int, told: Told
) -> list[Peer]:
    """Run every peer on `count` recorded ticks from `first` on, each in a process of its own."""
    problem = environment.make(told)
    if problem:
        return [Peer(name, what, None, note=problem) for name, what in PEERS.items()]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'problems.npz'
        np.savez(file, **export(recording, first, count))  # type: ignore[arg-type]
        for name, what in PEERS.items():
            told(name)
            run = partial(_run, environment.python, name, what, file, recording, told)
            found.append(beside(recording, count, run))
    return found


def _run(python: Path, name: str, what: str, file: Path, recording: Recording, told: Told) -> Peer:
    command = [str(python), str(WORKER), name, str(file)]
    environment = {**os.environ, **SINGLE}
    environment.pop('PYTHONPATH', None)
    with tempfile.TemporaryFile('w+') as errors:
        worker = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        result = None
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                message = json.loads(line) if line.startswith('{') else {}
                if 'done' in message:
                    told(f'{name}: {message["done"]} of {message["count"]}')
                elif message:
                    result = message
            worker.wait(LIMIT)
        finally:
            worker.kill()
            worker.wait()
        if result is None or 'error' in result:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            note = result['error'] if result else f'ended with {worker.returncode}: {last}'
            return Peer(name, what, None, note=note)
    timing = summarise(np.array(result['micros']), recording.config.period)
    compiled = result['compile_s']
    note = f'compiled in {compiled:.0f} s, not counted' if compiled else ''
    return Peer(name, what, timing, result['failed'], note)


def export(recording: Recording, first: int, count: int) -> dict[str, Array]:
    """Return all that the worker needs of `count` ticks from `first` on, as plain arrays."""
    robot, built = recording.robot, bare.problems(recording, first, count)
    scene = SafetyFilter(robot, recording.config).scene
    urdf = robot.urdf_path
    kinematics = Kinematics(urdf, robot.arm_joints, robot.tool_frame)
    ticks, seen = recording.ticks[first : first + count], recording.seen[first : first + count]
    solids = len(ticks[0].world.obstacles)
    ends, place = np.zeros((count, solids, 2, 3)), np.zeros((count, 3))
    turn, twist, centre = np.zeros((count, 3, 3)), np.zeros((count, 6)), np.zeros((count, 3))
    ellipsoid, radius = np.zeros((count, 3, 3)), np.zeros(solids)
    for k, (tick, mine) in enumerate(zip(ticks, seen)):
        turn[k], place[k] = kinematics.fk(mine.position)
        twist[k] = kinematics.jacobian(mine.position) @ mine.wanted
        near = np.inf
        for i, solid in enumerate(tick.world.obstacles):
            along = rotation(solid.orientation)[:, 2]
            half = solid.size[0] / 2.0 if solid.shape == 'capsule' else 0.0
            radius[i] = solid.size[-1] + solid.uncertainty
            ends[k, i] = solid.position - half * along, solid.position + half * along
            distance = float(np.linalg.norm(solid.position - place[k]))
            if distance < near:  # AEGIS knows one obstacle: the nearest to the hand
                near, centre[k] = distance, solid.position
                # the axes (half + r) and r sqrt(1 + half / r) hold the capsule
                across = radius[i] * np.sqrt(1.0 + half / radius[i])
                shape = np.outer(along, along)
                ellipsoid[k] = (half + radius[i]) * shape + across * (np.eye(3) - shape)
    scene.set_world(ticks[0].world)
    arm = scene.model.arm
    return {
        **built._asdict(),
        **{key: np.asarray(value) for key, value in arm._asdict().items()},
        'margins': scene.margins,
        'position': np.array([mine.position for mine in seen]),
        'speed': robot.limits('velocity'),
        'solids': ends,
        'solid_radius': radius,
        'hand_turn': turn,
        'hand_place': place,
        'twist': twist,
        'ellipsoid': ellipsoid,
        'ellipsoid_centre': centre,
    }
