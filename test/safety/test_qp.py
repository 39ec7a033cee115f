"""The program against quadprog, and a check that catches wrong answers."""

from __future__ import annotations

import math
from typing import NamedTuple

import daqp
import numpy as np
import pytest
import quadprog

from vla_ros.safety import qp
from vla_ros.safety.decide import TOLERANCE
from vla_ros.safety.optimality import BINDS, pack, settle
from vla_ros.safety.qp import QpSolver
from vla_ros.safety.work import make_work

N = 7
MOST = 100  # rows


class Problem(NamedTuple):
    """min |v - v_d|^2 / 2 + weight s^2 / 2 + ease r^2 / 2 with lo <= v <= hi, G v + s >= bound.

    The last `soft` rows have the slack r; r, s >= 0.
    """

    desired: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    bound: np.ndarray
    weight: float
    soft: int = 0
    ease: float = 1.0


class Answer(NamedTuple):
    """What passed the check."""

    velocity: np.ndarray
    slack: float
    active: list[int]  # rows that bind
    rows: int  # that the solver was given, -1: it was not asked


class Solver:
    """The program as a tick runs it: packed, solved, checked."""

    def __init__(self):
        self.solver, self.program = QpSolver(N), make_work(N, 1, 1, 1, MOST).program

    def solve(self, p):
        """Return an Answer, None if the check refused what the solver said."""
        scale, ease, program = math.sqrt(p.weight), math.sqrt(p.ease), self.program
        given = p.desired, p.lower, p.upper, p.rows, p.bound
        hard = len(p.bound) - p.soft
        rows = pack(*given, hard, p.soft, scale, ease, program)
        if rows < 0:
            return Answer(p.desired, 0.0, [], rows)
        said = self.solver.solve(program, rows)
        if said is None:
            return None
        velocity = np.zeros(N)
        good, slack = settle(
            *said, *given, hard, program.which, rows, scale, ease, TOLERANCE, velocity
        )
        active = [int(program.which[r]) for r in range(rows) if said[1][N + 2 + r] < -BINDS]
        return Answer(velocity, slack, active, rows) if good else None


def random_problem(rng, rows):
    return Problem(
        desired=rng.normal(size=N) * 2,
        lower=-rng.uniform(0.1, 2, N),
        upper=rng.uniform(0.1, 2, N),
        rows=rng.normal(size=(rows, N)) * 0.5,
        bound=rng.normal(size=rows) * 0.3 - 0.2,
        weight=1e4,
    )


def by_quadprog(p):
    """Solve with v and both slacks, Goldfarb and Idnani's method."""
    n, r = N, len(p.bound)
    hessian = np.diag([*np.ones(n), p.weight, p.ease])
    linear = np.append(p.desired, [0.0, 0.0])
    slacks = np.zeros((r, 2))
    slacks[: r - p.soft, 0] = slacks[r - p.soft :, 1] = 1.0
    constraints = [
        np.hstack([np.eye(n), np.zeros((n, 2))]),
        np.hstack([-np.eye(n), np.zeros((n, 2))]),
        np.hstack([np.zeros((2, n)), np.eye(2)]),
        np.hstack([p.rows, slacks]),
    ]
    bounds = np.concatenate([p.lower, -p.upper, [0.0, 0.0], p.bound])
    return quadprog.solve_qp(hessian, linear, np.vstack(constraints).T, bounds)[0]


def test_daqp_and_quadprog_agree():
    rng = np.random.default_rng(0)
    solver = Solver()
    worst, bound = 0.0, 0
    for _ in range(300):
        problem = random_problem(rng, int(rng.integers(0, 90)))
        soft = int(rng.integers(0, min(7, len(problem.bound)) + 1))
        problem = problem._replace(soft=soft, ease=float(rng.choice([0.01, 1.0, 100.0])))
        answer = solver.solve(problem)
        want = by_quadprog(problem)
        assert answer is not None
        worst = max(worst, float(np.abs(answer.velocity - want[:N]).max()))
        bound += len(answer.active) > 0
        firm = slice(len(problem.bound) - soft)
        gap = problem.bound[firm] - problem.rows[firm] @ answer.velocity
        assert answer.slack == pytest.approx(max(0.0, gap.max(initial=0.0)))
        assert answer.slack <= want[N] + 1e-6
    assert worst < 1e-6
    assert bound > 100


def test_rows_that_the_whole_box_keeps_are_left_out_and_change_nothing():
    """The oracle has them all, and the rows that bind there are never among those."""
    rng = np.random.default_rng(6)
    solver = Solver()
    asked = 0
    for _ in range(200):
        problem = random_problem(rng, 60)
        problem = problem._replace(
            lower=0.05 * problem.lower, upper=0.05 * problem.upper, bound=problem.bound - 0.1
        )
        answer = solver.solve(problem)
        corners = np.minimum(problem.rows * problem.lower, problem.rows * problem.upper)
        loose = corners.sum(axis=1) >= problem.bound
        assert answer.rows == (~loose).sum() < 60
        assert not loose[answer.active].any()
        np.testing.assert_allclose(answer.velocity, by_quadprog(problem)[:N], atol=1e-6)
        asked += answer.rows
    assert asked > 200


def test_soft_rows_give_way_to_the_others():
    """Two rows against each other: the soft one loses but for its small weight."""
    rng = np.random.default_rng(8)
    base = random_problem(rng, 0)
    wide = base._replace(desired=np.zeros(N), lower=-np.ones(N), upper=np.ones(N))
    rows = np.vstack([np.eye(N)[:1], -np.eye(N)[:1]])
    problem = wide._replace(rows=rows, bound=np.array([0.3, 0.2]), soft=1, ease=1.0)
    answer = Solver().solve(problem)
    assert answer.velocity[0] == pytest.approx(0.3, abs=1e-4)  # weights 10^4 against 1
    assert answer.slack < 1e-4
    alone = wide._replace(rows=rows[1:], bound=np.array([0.2]), soft=1, ease=1.0)
    half = Solver().solve(alone)  # min v^2 / 2 + (0.2 + v)^2 / 2
    assert half.velocity[0] == pytest.approx(-0.1) and half.slack == 0.0


def test_a_feasible_wish_is_returned_bit_by_bit():
    rng = np.random.default_rng(1)
    wish = rng.normal(size=N)
    problem = Problem(wish, wish - 1, wish + 1, np.eye(N), wish - 1e-3, 1e4)
    answer = Solver().solve(problem)
    assert answer.rows == -1 and answer.velocity is wish


@pytest.mark.parametrize('where', ['desired', 'rows', 'bound', 'lower'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_numbers_that_are_not_finite_give_no_answer(where, value):
    """DAQP reports success on NaN; the check does not."""
    problem = random_problem(np.random.default_rng(2), 5)
    array = getattr(problem, where)
    array[0] = value
    assert Solver().solve(problem) is None


def test_an_empty_box_gives_no_answer():
    problem = random_problem(np.random.default_rng(3), 5)
    assert Solver().solve(problem._replace(lower=problem.upper + 0.1)) is None


def test_vanishing_and_contradicting_rows_are_answered_with_slack():
    rng = np.random.default_rng(4)
    base = random_problem(rng, 0)
    rows = np.vstack([np.eye(N)[:1], -np.eye(N)[:1], 1e-10 * np.eye(N)[:1], np.zeros((1, N))])
    problem = base._replace(rows=rows, bound=np.array([0.05, 0.05, 0.1, 0.1]))
    answer = Solver().solve(problem)
    assert answer is not None and answer.slack >= 0.0999
    assert (answer.velocity >= base.lower).all() and (answer.velocity <= base.upper).all()


def wrong_answers():
    def shift(x, info):
        return x + 1e-3, info

    def no_change(x, info):
        return np.zeros_like(x), info

    def flip(x, info):
        return x, {**info, 'lam': -np.asarray(info['lam'])}

    return [shift, no_change, flip]


@pytest.mark.parametrize('wrong', wrong_answers(), ids=lambda f: f.__name__)
def test_a_solver_that_lies_is_caught(monkeypatch, wrong):
    """Its flag says solved; the answer is not optimal."""
    real = daqp.solve

    def lying(*args):
        x, value, _, info = real(*args)
        x, info = wrong(x, info)
        return x, value, 1, info

    monkeypatch.setattr(qp.daqp, 'solve', lying)
    rng = np.random.default_rng(5)
    solver = Solver()
    for _ in range(30):
        problem = random_problem(rng, 20)
        assert solver.solve(problem) is None
