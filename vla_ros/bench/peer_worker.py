"""The peers, run by the Python of their own environment: `python peer_worker.py PEER FILE`.

It imports nothing of ours. It reads the recorded problems from a numpy file, solves each, and
writes one JSON object per line: {"done": k} as it goes, and last a result or {"error": ...}.
Only the solution is timed: setting the parameters, solving, reading the answer back.
"""

from __future__ import annotations

from collections.abc import Callable
import gc
import json
import sys
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

WARM = 50  # first solutions, not counted: compilation, first use of memory
TOLD = 100  # solutions between two lines of progress

Data = dict[str, Any]
Step = Callable[[int], bool]  # solves problem k; False: no answer


def tell(**message: Any) -> None:
    """Write one line for the caller."""
    sys.stdout.write(json.dumps(message) + '\n')
    sys.stdout.flush()


def ellipsoid_rows(data: Data) -> Any:
    """Return h and its gradients for AEGIS's barrier of two ellipsoids.

    h(z) = (-|B s| + d.s - 1) / |s| with s = A^-1 z, d = p_B - p_A, A = R Q R^T of the hand and
    z a direction; its derivatives by v, w of the hand and by z.
    """
    hand = np.diag([0.06, 0.12, 0.11])  # [m] semi-axes

    def rows(k: int, z: Any) -> Any:
        turn, other = data['hand_turn'][k], data['ellipsoid'][k]
        inverse = turn @ np.diag(1.0 / np.diag(hand)) @ turn.T
        gap = data['ellipsoid_centre'][k] - data['hand_place'][k]
        s = inverse @ z
        length, across = np.linalg.norm(s), np.linalg.norm(other @ s)
        top = gap @ s - across - 1.0
        g = (gap - other @ (other @ s) / across) / length - top * s / length**3
        a_w = np.cross(s, g) - np.cross(z, inverse @ g)
        return top / length, -s / length, a_w, inverse @ g

    return rows


def aegis(data: Data, compiled: bool) -> tuple[Step, int]:
    """AEGIS: 9 variables [v, w, u_z], one obstacle at the hand, cvxpy and OSQP.

    `compiled`: one problem with parameters, as cvxpy recommends; else a new one each time.
    """
    import cvxpy as cp

    rows, steps = ellipsoid_rows(data), len(data['hand_place'])
    weight = np.sqrt(np.array([1 / 25.0] * 6 + [1.0] * 3))
    z = data['ellipsoid_centre'][0] - data['hand_place'][0]
    state = {'z': z / np.linalg.norm(z)}
    u, target, row, room = cp.Variable(9), cp.Parameter(9), cp.Parameter(9), cp.Parameter()

    def build(t: Any, r: Any, b: Any) -> Any:
        return cp.Problem(cp.Minimize(cp.sum_squares(cp.multiply(weight, u - t))), [r @ u >= b])

    shared = build(target, row, room)

    def step(k: int) -> bool:
        h, a_v, a_w, a_z = rows(k, state['z'])
        wish = np.concatenate([5.0 * data['twist'][k], 10.0 * a_z])
        facing = np.concatenate([0.2 * a_v, 0.2 * a_w, a_z])
        start = perf_counter_ns()
        if compiled:
            target.value, row.value, room.value = wish, facing, -10.0 * h
            problem = shared
        else:
            problem = build(wish, facing, -10.0 * h)
        problem.solve(solver=cp.OSQP, warm_start=True)
        answer = u.value
        state['us'] = 1e-3 * (perf_counter_ns() - start)
        if answer is None:
            return False
        z = state['z'] + 0.05 * (np.eye(3) - np.outer(state['z'], state['z'])) @ answer[6:]
        state['z'] = z / np.linalg.norm(z)
        return True

    step.state = state  # type: ignore[attr-defined]
    return step, steps


def proxqp(data: Data) -> tuple[Step, int]:
    """ProxQP on our rows and box, dense, warm started; its own tolerance for a robot's loop."""
    import proxsuite

    n, most = data['wanted'].shape[1], data['rows'].shape[1]
    solver = proxsuite.proxqp.dense.QP(n, 0, most + n)
    solver.settings.eps_abs = 1e-6
    solver.settings.max_iter = 1000
    solver.settings.initial_guess = proxsuite.proxqp.InitialGuess.WARM_START_WITH_PREVIOUS_RESULT
    matrix = np.zeros((most + n, n))
    matrix[most:] = np.eye(n)
    low, high = np.full(most + n, -1e20), np.full(most + n, 1e20)
    state: dict[str, Any] = {'first': True}

    def step(k: int) -> bool:
        count = data['used'][k]
        start = perf_counter_ns()
        matrix[:count], matrix[count:most] = data['rows'][k, :count], 0.0
        low[:count], low[count:most] = data['bound'][k, :count], -1e20
        low[most:], high[most:] = data['lower'][k], data['upper'][k]
        if state['first']:
            solver.init(np.eye(n), -data['wanted'][k], None, None, matrix, low, high)
            state['first'] = False
        else:
            solver.update(g=-data['wanted'][k], C=matrix, l=low, u=high)
        solver.solve()
        answer = np.array(solver.results.x)
        state['us'] = data['kernel_us'][k] + 1e-3 * (perf_counter_ns() - start)
        solved = solver.results.info.status == proxsuite.proxqp.QPSolverOutput.PROXQP_SOLVED
        return bool(solved and np.isfinite(answer).all())

    step.state = state  # type: ignore[attr-defined]
    return step, len(data['wanted'])


def cbfpy(data: Data, backend: str) -> tuple[Step, int]:
    """cbfpy: the same capsules, floor and solids as barriers in JAX, its defaults otherwise."""
    from cbfpy import CBF, CBFConfig
    import jax
    import jax.numpy as jnp

    turn, offset, axis = (jnp.asarray(data[k]) for k in ('turn', 'offset', 'axis'))
    joint, pairs = data['capsule_joint'], data['pairs']
    ends = jnp.asarray(np.stack([data['capsule_a'], data['capsule_b']], 1))  # (m, 2, 3)
    radius, margins = jnp.asarray(data['capsule_radius']), jnp.asarray(data['margins'])
    above, moving, floor = data['above_floor'], data['moving'], float(data['floor'])
    size = jnp.asarray(data['solid_radius'])
    n = len(axis)

    def places(q: Any) -> Any:
        """Return the ends (m, 2, 3) of every capsule in the base frame."""
        place, at = jnp.eye(3), jnp.zeros(3)
        turns, origins = [jnp.eye(3)], [jnp.zeros(3)]
        for j in range(n):
            at = at + place @ offset[j]
            x, y, w = axis[j]
            cross = jnp.array([[0.0, -w, y], [w, 0.0, -x], [-y, x, 0.0]])
            spin = jnp.eye(3) + jnp.sin(q[j]) * cross + (1 - jnp.cos(q[j])) * cross @ cross
            place = place @ turn[j] @ spin
            turns.append(place)
            origins.append(at)
        turns, origins = jnp.stack(turns), jnp.stack(origins)
        return jnp.einsum('mij,mej->mei', turns[joint + 1], ends) + origins[joint + 1][:, None]

    def gap(one: Any, two: Any) -> Any:
        """Return the distance of two segments (2, 3), by Ericson's formula without branches."""
        u, v, w = one[1] - one[0], two[1] - two[0], one[0] - two[0]
        a, b, e, c, f = u @ u + 1e-12, u @ v, v @ v + 1e-12, u @ w, v @ w
        s = jnp.clip((b * f - c * e) / (a * e - b * b + 1e-12), 0.0, 1.0)
        t = jnp.clip((b * s + f) / e, 0.0, 1.0)
        s = jnp.clip((b * t - c) / a, 0.0, 1.0)
        apart = one[0] + s * u - two[0] - t * v
        return jnp.sqrt(apart @ apart + 1e-12)

    class Arm(CBFConfig):
        """One integrator per joint, every distance a barrier."""

        def f(self, z: Any, solids: Any) -> Any:
            return jnp.zeros(n)

        def g(self, z: Any, solids: Any) -> Any:
            return jnp.eye(n)

        def h_1(self, z: Any, solids: Any) -> Any:
            at = places(z)
            first, second = at[pairs[:, 0]], at[pairs[:, 1]]
            own = jax.vmap(gap)(first, second) - radius[pairs[:, 0]] - radius[pairs[:, 1]]
            low = at[above][:, :, 2].min(axis=1) - radius[above] - floor
            away = jax.vmap(lambda b: jax.vmap(lambda c: gap(b, c))(at[moving]))(solids)
            away = away - size[:, None] - radius[moving][None]
            return jnp.concatenate([own, low, away.ravel()]) - margins

        def alpha(self, h: Any, solids: Any) -> Any:
            return 8.0 * h

    speed = data['speed']
    config = Arm(
        n,
        n,
        u_min=-speed,
        u_max=speed,
        backend=backend,
        init_args=(jnp.asarray(data['solids'][0]),),
    )
    start = perf_counter()
    cbf = CBF.from_config(config)
    np.asarray(cbf.safety_filter(data['position'][0], data['wanted'][0], data['solids'][0]))
    state: dict[str, Any] = {'compile_s': perf_counter() - start}

    def step(k: int) -> bool:
        start = perf_counter_ns()
        answer = cbf.safety_filter(data['position'][k], data['wanted'][k], data['solids'][k])
        answer = np.asarray(answer)
        state['us'] = 1e-3 * (perf_counter_ns() - start)
        return bool(np.isfinite(answer).all())

    step.state = state  # type: ignore[attr-defined]
    return step, len(data['wanted'])


PEERS: dict[str, Callable[[Data], tuple[Step, int]]] = {
    'aegis': lambda data: aegis(data, compiled=False),
    'aegis_dpp': lambda data: aegis(data, compiled=True),
    'proxqp': proxqp,
    'cbfpy': lambda data: cbfpy(data, 'elastiqp'),
    'cbfpy_qpax': lambda data: cbfpy(data, 'qpax'),
}


def main(peer: str, file: str) -> None:
    """Run one peer over the whole file."""
    data = dict(np.load(file))
    try:
        step, count = PEERS[peer](data)
    except ImportError as error:
        tell(error=f'not installed: {error}')
        return
    state = step.state  # type: ignore[attr-defined]
    micros, failed = np.zeros(count), 0
    gc.collect()
    gc.disable()
    for k in range(count):
        solved = step(k)
        micros[k] = state['us']
        failed += k >= WARM and not solved
        if k % TOLD == 0:
            tell(done=k, count=count)
    tell(micros=micros[WARM:].tolist(), failed=failed, compile_s=state.get('compile_s'))


if __name__ == '__main__':
    main(*sys.argv[1:])
