"""Chunks on plan time, and the rule by which a new one follows the plan."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.actions.strategies.base import follow, Laid
from vla_ros.errors import ShapeError

HELD = np.array([False, True])


def laid(start=0.1, first=0.0, step=0.1, count=5):
    """A line of slope 1 and a gripper that counts."""
    due = start + step * np.arange(count)
    return Laid(due, np.stack([first + due - start, first + np.arange(count)], axis=1))


def test_at_interpolates_and_holds():
    values = laid().at(np.array([0.0, 0.1, 0.15, 0.25, 0.5, 9.0]), HELD)
    assert values[:, 0] == pytest.approx([0.0, 0.0, 0.05, 0.15, 0.4, 0.4])
    assert values[:, 1].tolist() == [0, 0, 0, 1, 4, 4]


@pytest.mark.parametrize('offset', [-5e-7, -1e-12, 0.0, 1e-12, 5e-7])
def test_rounding_of_a_stamp_does_not_change_the_step_that_is_read(offset):
    plan = laid()
    due = plan.due + offset
    assert plan.covers(due).all()
    assert plan.at(due, HELD)[:, 1].tolist() == [0, 1, 2, 3, 4]
    new = Laid(due, np.full((5, 2), 9.0))
    assert follow(new, plan, 0.3, HELD)[:, 1].tolist() == [0, 1, 2, 9, 9]


def test_covers_ends_with_the_steps():
    due = np.array([0.09, 0.1, 0.5, 0.51])
    assert laid().covers(due).tolist() == [False, True, True, False]


def test_step():
    assert laid().step == pytest.approx(0.1)
    assert laid(count=1).step == 0.0


@pytest.mark.parametrize('due', [[], [0.1, 0.1], [0.2, 0.1], [0.1, np.nan]])
def test_times_that_do_not_increase_are_refused(due):
    with pytest.raises(ShapeError, match='strictly increasing'):
        Laid(np.array(due), np.zeros((len(due), 2)))


def test_follow_without_a_plan_is_the_new_chunk():
    assert (follow(laid(), None, 9.0, HELD, 0.3) == laid().actions).all()


def test_follow_mixes_only_after_phi_and_only_where_the_plan_reaches():
    plan, new = laid(0.1), laid(0.3, first=10.0)  # the plan ends at 0.5
    sent = follow(new, plan, 0.35, HELD, 0.25)
    assert sent[0].tolist() == pytest.approx([0.2, 2.0])
    assert sent[1] == pytest.approx([0.75 * 0.3 + 0.25 * 10.1, 11.0])
    assert sent[2] == pytest.approx([0.75 * 0.4 + 0.25 * 10.2, 12.0])
    assert (sent[3:] == new.actions[3:]).all()


def test_a_share_of_nothing_still_switches_the_held_channels():
    sent = follow(laid(first=10.0), laid(), 0.25, HELD, 0.0)
    assert sent[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert sent[:, 1].tolist() == [0, 1, 12, 13, 14]
