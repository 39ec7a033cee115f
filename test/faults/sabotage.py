"""The safety filter's process with parts of it broken on a signal; the product has no such door.

Signal FIRST + k selects mode k of MODES. What a mode breaks is replaced here, before the node's
own `main` runs; everything else is the node as it is.
"""

from __future__ import annotations

import signal
import time
from typing import Any

import numpy as np

from vla_ros.actions.timeline import Timeline
from vla_ros.nodes import control, safety_filter_node
from vla_ros.safety import filter as filter_module
from vla_ros.safety import qp
from vla_ros.safety.decide import ASKS, CHOSEN
from vla_ros.safety.filter import SafetyFilter

FIRST = signal.SIGRTMIN + 1
MODES = (
    'sound',
    'solver_raises',
    'solver_fails',  # says so by its flag
    'solver_nan',  # says that all is well, and answers with NaN
    'solver_wrong',  # says that all is well, and answers with what breaks a constraint
    'solver_infeasible',  # is given constraints that contradict each other
    'plan_nan',  # the plan is accepted, and then is none
    'error',  # the filter's own code raises
    'dt_zero',  # and the two after it: for TICKS
    'dt_negative',
    'dt_nan',
    'late',  # one tick takes far too long
)
LATE = 0.4  # [s]
TICKS = 20
mode = MODES[0]
left = 0  # ticks for which a mode that ends by itself goes on


class BrokenDaqp:
    """DAQP, or what is left of it."""

    def __init__(self, whole: Any) -> None:
        self._solve = whole.solve

    def solve(self, hessian: Any, target: Any, rows: Any, upper: Any, lower: Any) -> Any:
        if mode == 'solver_raises':
            raise RuntimeError('the solver is broken')
        if mode == 'solver_infeasible':
            upper, lower = lower - 1.0, upper + 1.0
        x, cost, flag, info = self._solve(hessian, target, rows, upper, lower)
        if mode == 'solver_fails':
            flag = -1
        elif mode == 'solver_nan':
            x = np.full_like(x, np.nan)
        elif mode == 'solver_wrong':
            x = x + 1.0
        return x, cost, flag, info


def break_filter() -> None:
    """Replace what the modes break."""
    qp.daqp = BrokenDaqp(qp.daqp)  # type: ignore[assignment]
    tick, inputs = control.Control.tick, SafetyFilter._inputs

    def timed(self: Any, now: float, dt: float) -> Any:
        global mode, left
        if mode == 'late':
            mode = MODES[0]
            time.sleep(LATE)
        elif mode.startswith('dt_'):
            dt = {'zero': 0.0, 'negative': -1.0, 'nan': float('nan')}[mode[3:]]
            left -= 1
            mode = mode if left else MODES[0]
        return tick(self, now, dt)

    def failing(self: Any, *args: Any) -> Any:
        if mode == 'error':
            raise ZeroDivisionError('broken by a test')
        return inputs(self, *args)

    lay, begin_in = Timeline._lay, filter_module.begin_in

    def forced(*args: Any) -> Any:
        """Say that the program must be solved."""
        seen, decision = begin_in(*args)
        asks = mode.startswith('solver_') and decision[0] == CHOSEN
        return seen, (ASKS, *decision[1:]) if asks else decision

    filter_module.begin_in = forced

    def spoiled(self: Any, *args: Any) -> Any:
        lay(self, *args)
        if mode == 'plan_nan':
            self.pieces.cubics[:] = np.nan
            self.pieces.points[:] = np.nan

    Timeline._lay = spoiled  # type: ignore[method-assign]
    control.Control.tick = timed  # type: ignore[method-assign]
    SafetyFilter._inputs = failing  # type: ignore[method-assign]


def _select(number: int, _: object) -> None:
    global mode, left
    mode, left = MODES[number - FIRST], TICKS


if __name__ == '__main__':
    break_filter()
    for k in range(len(MODES)):
        signal.signal(FIRST + k, _select)
    raise SystemExit(safety_filter_node.main())
