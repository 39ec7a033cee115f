"""Interventions are cut out of the log rightly; plot and table show what was measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from vla_ros.errors import ShapeError
from vla_ros.evaluation.metrics import control, Outcome, summarize
from vla_ros.evaluation.report import plot, RunLog, table


def _log(levels: list[int]) -> RunLog:
    count = len(levels)
    times = [0.1 * k for k in range(count)]
    return RunLog(
        joint_names=('a', 'b'), joint_times=times,
        positions=[[0.0, 0.1 * k] for k in range(count)], safety_times=times,
        levels=levels, reasons=['' if not v else f'r{v}' for v in levels],
        barriers=[0.05] * count, rates=[(t, 1.0) for t in times],
    )  # fmt: skip


def test_interventions_last_until_the_level_changes() -> None:
    spells = _log([0, 1, 1, 2, 0, 0, 3]).interventions()
    assert [(round(b, 3), round(e, 3), level, why) for b, e, level, why in spells] == [
        (0.1, 0.3, 1, 'r1'),
        (0.3, 0.4, 2, 'r2'),
        (0.6, 0.6, 3, 'r3'),
    ]


def test_plot_is_a_picture(tmp_path: Path) -> None:
    plot(_log([0, 1, 1, 0]), tmp_path / 'plot.png', 'reach the ball')
    image = cv2.imread(str(tmp_path / 'plot.png'))
    assert image.shape == (750, 1000, 3)
    assert image.std() > 10.0


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match='no joint state'):
        plot(RunLog(), tmp_path / 'plot.png', '')


def test_table_has_a_line_for_each_task_and_control(outcome: Outcome) -> None:
    summary = summarize([outcome])
    summary['controls'] = {'images of another episode': control([outcome], [outcome])}
    lines = table(summary).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ['reach', 'all', 'images']
    assert 'chance 100.0 %' in lines[-1]
