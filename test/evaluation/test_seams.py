"""Seams: a smooth plan has ratios of one, a jump shows, and a halted clock does not count."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.evaluation.seams import Seams

DT = 0.005


def watch(place, ticks=2000, joints=range(100, 2000, 60), rate=lambda k: 1.0):
    seams, phi = Seams(DT), 0.0
    for k in range(ticks):
        if k in joints:
            seams.joined(phi, np.array([0.01, -0.03]))
        phi += rate(k) * DT
        seams.tick(phi, np.array([place(phi), 0.0]), walked=True)
    seams.end()
    return seams.figures()


def test_a_smooth_plan_is_as_smooth_at_its_seams():
    figures = watch(np.sin)
    assert figures['seam_velocity_ratio'] == pytest.approx(1.0, abs=0.05)
    assert figures['seam_acceleration_ratio'] == pytest.approx(1.0, abs=0.05)
    assert figures['mismatch'] == pytest.approx(0.03)
    expected = np.sqrt(np.mean(np.cos(np.linspace(0.0, 10.0, 2000)) ** 2) / 2.0)
    assert figures['jerk'] == pytest.approx(expected, rel=0.02)  # of two joints, one at rest


def test_a_jump_at_a_seam_shows():
    saw = watch(lambda phi: np.sin(phi) + 1e-3 * ((phi - 0.5) // 0.3 % 2))
    assert saw['seam_velocity_ratio'] > 20.0 and saw['seam_acceleration_ratio'] > 20.0


def test_a_jump_elsewhere_is_no_seam():
    saw = watch(lambda phi: np.sin(phi) + 1e-3 * ((phi - 0.65) // 0.3 % 2))
    assert saw['seam_velocity_ratio'] < 0.1


def test_how_fast_the_clock_passes_does_not_count():
    """The filter slows the clock down and halts it: the plan is as smooth as it was."""
    halting = watch(np.sin, rate=lambda k: 0.0 if k % 200 < 50 else 0.6)
    assert halting['seam_velocity_ratio'] == pytest.approx(1.0, abs=0.1)
    assert halting['jerk'] < 3.0


def test_episodes_add_up():
    both, one, other = Seams(DT), Seams(DT), Seams(DT)
    for part, slope in ((one, 1.0), (other, 2.0)):
        for k in range(100):
            if k == 50:
                part.joined(k * DT, np.zeros(2))
            part.tick(k * DT, np.array([slope * np.sin(k * DT)]), walked=True)
        part.end()
        both.add(part)
    rows = [part.figures()['jerk'] ** 2 for part in (one, other)]
    assert both.figures()['jerk'] ** 2 == pytest.approx(np.mean(rows))
