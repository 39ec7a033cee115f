"""PolicySpec, normalisation statistics and the fit of a policy to a robot."""

from __future__ import annotations

from dataclasses import replace
import json
import re

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.errors import (
    CheckpointError,
    ConfigError,
    RobotPolicyMismatch,
    UnknownNameError,
    VlaError,
)
from vla_ros.robot import load_robot
from vla_ros.spec import (
    ActionSlice,
    ALIGNMENTS,
    check,
    ImageSpec,
    load_norm_stats,
    NormStats,
    PolicySpec,
    require_fit,
    StateSlice,
    width,
)

ROBOT = load_robot(paths.find('robots', 'panda'))
SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_units_are_declared_and_never_guessed():
    with pytest.raises(ConfigError, match="'tool_position' is in 'mm', expected 'm'"):
        ActionSlice('tool_position', 'mm')
    with pytest.raises(ConfigError, match="'joint_position' is in 'deg', expected 'rad'"):
        StateSlice('joint_position', 'deg')


def test_unknown_kinds_name_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'joint_position'"):
        ActionSlice('joint_positions', 'rad')
    with pytest.raises(UnknownNameError, match="Did you mean 'gripper'"):
        StateSlice('griper', 'open_fraction')
    with pytest.raises(UnknownNameError, match="Did you mean 'observation'"):
        ActionSlice('gripper', 'open_fraction', 'observations')


@pytest.mark.parametrize(
    'change',
    [{'replan_steps': 0}, {'replan_steps': 13}, {'step': 0.0}, {'step': float('nan')}],
)
def test_a_chunk_that_cannot_run_is_refused(change):
    with pytest.raises(ConfigError, match='policy tiny_pi0'):
        replace(SPEC, **change)


@pytest.mark.parametrize('dof', [6, 7])
def test_width_counts_every_slice(dof):
    joints = StateSlice('joint_position', 'rad')
    assert width(SPEC.action, dof) == 4
    assert width((joints, StateSlice('gripper', 'open_fraction')), dof) == dof + 1
    assert width((), dof) == 0


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=2, max_side=5))
def test_denormalize_undoes_normalize(data, shape):
    mean = data.draw(hnp.arrays(float, shape, elements=VALUES))
    std = data.draw(hnp.arrays(float, shape, elements=st.floats(1e-3, 1e3)))
    value = data.draw(hnp.arrays(float, shape, elements=VALUES))
    stats = NormStats(mean, std)
    back = stats.denormalize(stats.normalize(value))
    np.testing.assert_allclose(back, value, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(stats.normalize(mean + 2.0 * std), 2.0, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('mean', 'std'),
    [
        ([0.0], [0.0]),
        ([0.0], [-1.0]),
        ([0.0], [float('nan')]),
        ([0.0], [float('inf')]),
        ([float('nan')], [1.0]),
        ([float('inf')], [1.0]),
    ],
)
def test_statistics_that_cannot_be_undone_are_refused(mean, std):
    with pytest.raises(CheckpointError, match='finite'):
        NormStats(mean, std)


def test_statistics_are_read_as_they_were_written(tmp_path):
    path = tmp_path / 'norm_stats.json'
    table = {
        'state': {'mean': [0.0, 1.0], 'std': [1.0, 2.0]},
        'actions': {'mean': [[0.0], [1.0]], 'std': [[1.0], [2.0]]},
    }
    path.write_text(json.dumps({'norm_stats': table}), encoding='utf-8')
    stats = load_norm_stats(path)
    for key, entry in table.items():
        np.testing.assert_array_equal(stats[key].mean, entry['mean'])
        np.testing.assert_array_equal(stats[key].std, entry['std'])


@pytest.mark.parametrize(
    'text',
    [
        '',
        'no json',
        '[]',
        '{}',
        '{"norm_stats": []}',
        '{"norm_stats": {"state": {"mean": [0]}}}',
        '{"norm_stats": {"state": 3}}',
        '{"norm_stats": {"state": {"mean": ["a"], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0, 0], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [[0], [0, 1]], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [0]}}}',
        '{"norm_stats": {"state": {"mean": [NaN], "std": [1]}}}',
    ],
)
def test_damaged_statistics_are_a_checkpoint_error(tmp_path, text):
    path = tmp_path / 'norm_stats.json'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(CheckpointError):
        load_norm_stats(path)
    with pytest.raises(CheckpointError, match=r'gone\.json'):
        load_norm_stats(tmp_path / 'gone.json')


JOINTS = ActionSlice('joint_position', 'rad')
TOOL = ActionSlice('tool_position', 'm')
GRIPPER = ActionSlice('gripper', 'open_fraction')


@pytest.mark.parametrize(
    ('change', 'finding'),
    [
        ({'images': (ImageSpec('ceiling', 96),)}, "needs camera 'ceiling'.*scene, wrist"),
        ({'images': (ImageSpec('wrist', 481),)}, 'gives 640x480.*481 px'),
        ({'action': ()}, 'declares no action'),
        ({'action': (GRIPPER,)}, 'exactly one of'),
        ({'action': (TOOL, JOINTS)}, 'exactly one of'),
        ({'action': (TOOL, TOOL, GRIPPER)}, 'tool_position'),
        ({'action': (TOOL, GRIPPER, GRIPPER)}, 'gripper'),
    ],
)
def test_what_does_not_fit_is_found_with_its_cure(change, finding):
    spec = replace(SPEC, **change)
    assert any(re.search(finding, text) for text in check(ROBOT, spec))
    with pytest.raises(RobotPolicyMismatch, match=finding):
        require_fit(ROBOT, spec)


def test_every_misfit_is_told_at_once():
    spec = replace(SPEC, images=(ImageSpec('a', 96), ImageSpec('b', 96)), action=())
    assert len(check(ROBOT, spec)) >= 3
    assert issubclass(RobotPolicyMismatch, VlaError)


@pytest.mark.parametrize('action', [(TOOL,), (JOINTS,), (GRIPPER, JOINTS), (TOOL, GRIPPER)])
def test_what_fits_has_no_finding(action):
    spec = replace(SPEC, images=(ImageSpec('scene', 480),), action=action)
    assert check(ROBOT, spec) == []
    require_fit(ROBOT, spec)


@pytest.mark.parametrize('word', ALIGNMENTS)
def test_alignments_that_are_known(word):
    assert replace(SPEC, alignment=word, alignment_tolerance=0.0).alignment == word


def test_an_unknown_alignment_names_the_closest():
    with pytest.raises(UnknownNameError, match="policy tiny_pi0.*Did you mean 'nearest'"):
        replace(SPEC, alignment='nearst')


@pytest.mark.parametrize('tolerance', [-0.001, float('nan'), float('inf')])
def test_an_alignment_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ConfigError, match='alignment_tolerance is .* expected 0 or more'):
        replace(SPEC, alignment_tolerance=tolerance)
