"""The session: when a chunk is due, what supersedes what, and how an instruction ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.nodes.session import ACCEPT_WAIT, Session
from vla_ros.spec import PolicySpec
from vla_ros.status import ExecutionState, PolicyPhase, RunCode, SafetyStatus, TaskStatus

SPEC = config.load(paths.find('policies', 'hold'), PolicySpec)

INTERVAL = SPEC.replan_steps * SPEC.step  # [s]


def execution(stamp, phi, rate=1.0, plan=None, plan_phi=0.0) -> ExecutionState:
    return ExecutionState(stamp, phi, rate, plan, plan_phi, (), np.zeros(0), np.zeros(0), 0)


def task(success: bool, instruction: str) -> TaskStatus:
    return TaskStatus(0.0, 's', 't', instruction, 0, 0, 9, success, success, 'cube', '', 0.1)


def safety(level: int, latched: bool) -> SafetyStatus:
    return SafetyStatus(0.0, level, 'estop', 'the e-stop was pressed', latched, min_barrier=0.2)


@pytest.fixture
def session() -> Session:
    session = Session(SPEC)
    session.start('reach it', 10.0, limit=5.0, until_success=True)
    return session


def test_nothing_is_due_without_an_instruction():
    session = Session(SPEC)
    assert not session.due(1.0, INTERVAL)
    assert session.phase is PolicyPhase.IDLE


def test_the_first_chunk_is_due_at_once_and_then_after_the_consumed_steps(session):
    assert session.due(10.0, INTERVAL)
    session.published(9.98, 10.05, points=20)
    assert not session.due(10.06, INTERVAL)
    session.executed(execution(10.1, 4.0, plan=9.98, plan_phi=3.9))
    wanted = SPEC.replan_steps * SPEC.step  # 0.25 s of plan time from 3.9 s
    assert not session.due(10.1 + wanted - 0.1 - 1e-6, INTERVAL)
    assert session.due(10.1 + wanted - 0.1 + 1e-6, INTERVAL)


def test_a_slowed_plan_clock_delays_the_next_chunk(session):
    session.published(9.98, 10.05, points=20)
    session.executed(execution(10.1, 4.0, rate=0.5, plan=9.98, plan_phi=3.9))
    assert not session.due(10.1 + 0.29, INTERVAL)
    assert session.due(10.1 + 0.31, INTERVAL)


def test_a_held_plan_clock_gives_up_the_plan_when_it_is_old(session):
    session.published(9.98, 10.05, points=20)
    session.executed(execution(10.1, 4.0, rate=0.0, plan=9.98, plan_phi=3.9))
    assert not session.due(9.98 + SPEC.patience - 0.01, INTERVAL)
    assert session.due(9.98 + SPEC.patience + 0.01, INTERVAL)


@pytest.mark.parametrize('accepted', [None, 9.5])
def test_a_chunk_that_nobody_accepted_is_sent_again_after_a_wait(session, accepted):
    session.published(9.98, 10.0, points=20)
    session.executed(execution(10.1, 4.0, plan=accepted, plan_phi=0.0))
    assert not session.due(10.0 + ACCEPT_WAIT - 0.01, INTERVAL)
    assert session.due(10.0 + ACCEPT_WAIT + 0.01, INTERVAL)


def test_the_plan_clock_passes_as_fast_as_the_filter_says(session):
    assert session.plan_clock(10.0) is None
    for k in range(41):  # half speed from t = 10 on
        session.executed(execution(10.0 + 0.005 * k, 7.0 + 0.0025 * k, rate=0.5))
    assert session.plan_clock(10.05) == pytest.approx(7.025)
    assert session.plan_clock(10.25) == pytest.approx(7.125)  # after the last report


def test_a_newer_instruction_supersedes(session):
    session.published(9.98, 10.0, points=20)
    assert session.start('push it', 12.0) == 2
    ended = session.endings[-1]
    assert (ended.instruction_id, ended.code) == (1, RunCode.SUPERSEDED)
    assert (ended.elapsed, ended.chunks) == (2.0, 1)
    assert session.due(12.0, INTERVAL)
    assert session.chunks == 0


def test_success_counts_for_the_same_sentence_and_after_the_start_only(session):
    session.judged(task(True, 'push it'))
    assert session.verdict(11.0) is None
    session.judged(task(True, 'reach it'))
    assert session.verdict(11.0)[0] is RunCode.SUCCEEDED
    session.start('reach it', 12.0, until_success=True)
    assert session.verdict(12.0) is None
    session.start('reach it', 13.0)
    session.judged(task(True, 'reach it'))
    assert session.verdict(13.0) is None


def test_time_limit_and_safety_stop(session):
    assert session.verdict(14.9) is None
    assert session.verdict(15.1)[0] is RunCode.TIME_LIMIT
    session.guarded(safety(3, latched=False))
    assert session.verdict(14.9) is None
    session.guarded(safety(2, latched=True))
    assert session.verdict(14.9) is None
    session.guarded(safety(3, latched=True))
    code, message = session.verdict(14.9)
    assert code is RunCode.SAFETY_STOP
    assert 'e-stop' in message
    assert session.safety == (3, 0.2)


def test_stop_ends_the_instruction_once_and_says_why(session):
    session.stop(RunCode.POLICY_ERROR, 'no weights', 11.0)
    assert session.phase is PolicyPhase.ERROR
    assert session.message == 'no weights'
    assert not session.due(11.0, INTERVAL)
    assert session.verdict(99.0) is None
    session.stop(RunCode.CANCELED, 'stopped', 12.0)
    assert [e.code for e in session.endings] == [RunCode.POLICY_ERROR]
    assert session.phase is PolicyPhase.IDLE


def test_phases_follow_what_happens(session):
    assert session.phase is PolicyPhase.WAITING_FOR_INPUT
    session.published(9.98, 10.0, points=20)
    assert session.phase is PolicyPhase.RUNNING
    assert session.moving
    session.waiting("camera 'scene': nothing received")
    assert session.phase is PolicyPhase.WAITING_FOR_INPUT
    assert 'scene' in session.message
    session.published(10.5, 10.5, points=0)
    assert not session.moving
    assert session.chunks == 1
    assert math.isclose(session.last_stamp, 10.5)


def test_the_supply_is_that_of_the_chunk_in_use(session):
    def supply(phi: float, plan: float | None) -> str:
        session.executed(execution(10.2, phi, plan=plan, plan_phi=3.0))
        return session.supply(10.2, INTERVAL)

    assert session.supply(10.0, INTERVAL) == 'none'
    session.published(9.9, 10.0, points=20, length=1.0)
    session.published(10.15, 10.15, points=4, length=0.2)
    assert supply(3.1, None) == 'none'
    assert supply(3.1, 5.0) == 'none', 'a plan of somebody else'
    assert supply(3.1, 9.9) == 'on time'
    assert supply(3.25, 9.9) == 'on time', 'the older chunk is the one in use'
    assert supply(3.25, 10.15) == 'held', 'and the newer is at its end'
    assert supply(3.0 + INTERVAL + 1.5 * SPEC.step, 9.9) == 'tail'
    session.published(10.3, 10.3, points=0)
    assert supply(3.1, 9.9) == 'none', 'the arm was stopped'


def test_the_supply_follows_the_clock_between_two_reports(session):
    session.published(10.0, 10.0, points=20, length=1.0)
    session.executed(execution(10.1, 3.1, rate=0.5, plan=10.0, plan_phi=3.0))
    limit = INTERVAL + SPEC.step  # of plan time: 0.3 s, at half the rate
    assert session.supply(10.1 + 2.0 * (limit - 0.1) - 0.01, INTERVAL) == 'on time'
    assert session.supply(10.1 + 2.0 * (limit - 0.1) + 0.01, INTERVAL) == 'tail'


def test_a_clock_that_stands_still_keeps_the_plan_clock_of_before(session):
    for stamp, phi in ((10.0, 4.0), (10.2, 4.2), (10.2, 4.2), (10.2, 4.2)):
        session.executed(execution(stamp, phi))
    assert session.plan_clock(10.1) == pytest.approx(4.1)
    assert session.plan_clock(10.2) == pytest.approx(4.2)
    session.executed(execution(10.1, 4.3))  # it goes back: what was before has no place
    assert session.plan_clock(10.05) == pytest.approx(4.3)
