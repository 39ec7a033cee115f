"""LeRobot folders: both layouts of the statistics, and what is said of a folder that is broken."""

from __future__ import annotations

import json

import lerobot_layout as layout
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from vla_ros import paths
from vla_ros.errors import CheckpointError, UnknownNameError
from vla_ros.policies.lerobot import read_folder
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, PolicySpec, StateSlice

ROBOT = load_robot(paths.find('robots', 'panda'))
RNG = np.random.default_rng(0)
STEP = 'smolvla_new_line_processor'


def some_stats(size: int) -> dict[str, np.ndarray]:
    low = RNG.normal(size=size).astype(np.float32)
    names = ('min', 'q01', 'q10', 'mean', 'q90', 'q99', 'max')
    table = {name: low + np.float32(0.25 * k) for k, name in enumerate(names)}
    return {**table, 'std': RNG.uniform(0.5, 2.0, size).astype(np.float32)}


STATS = {'observation.state': some_stats(8), 'action': some_stats(8)}
CONFIG = layout.features(8, 8, ('front', 'wrist'))


@pytest.fixture
def new(tmp_path):
    layout.write_config(tmp_path, 'smolvla', CONFIG)
    layout.write_pipelines(tmp_path, CONFIG, STATS)
    return tmp_path


def old_folder(path, tensors, modes=None):
    modes = {'normalization_mapping': modes or layout.MODES}
    layout.write_config(path, 'smolvla', {**CONFIG, **modes})
    weight = {'model.state_proj.bias': np.zeros(3, np.float32)}
    save_file({**tensors, **weight}, path / 'model.safetensors')
    return path


def normalised(mode: str, table: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Write the published formulas down again, without their epsilon."""
    if mode == 'MEAN_STD':
        return (x - table['mean']) / table['std']
    words = {'MIN_MAX': 'min max', 'QUANTILES': 'q01 q99', 'QUANTILE10': 'q10 q90'}
    low, high = words[mode].split()
    return (x - table[low]) / (table[high] - table[low]) * 2.0 - 1.0


@pytest.mark.parametrize('mode', ['MEAN_STD', 'MIN_MAX', 'QUANTILES', 'QUANTILE10'])
def test_each_mode_is_read_from_the_pipelines(new, mode):
    layout.write_pipelines(new, CONFIG, STATS, {'STATE': mode, 'ACTION': mode})
    folder = read_folder(new, 'smolvla', steps=[STEP])
    x = RNG.normal(size=(5, 8))
    for stats, name in ((folder.state, 'observation.state'), (folder.action, 'action')):
        z = normalised(mode, {k: v.astype(float) for k, v in STATS[name].items()}, x)
        np.testing.assert_allclose(stats.normalize(x), z, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats.denormalize(z), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('mode', ['MEAN_STD', 'MIN_MAX'])
def test_each_mode_is_read_from_the_weights(tmp_path, mode):
    modes = {'STATE': mode, 'ACTION': mode}
    folder = read_folder(old_folder(tmp_path, layout.old_statistics(STATS), modes), 'smolvla')
    x = RNG.normal(size=(5, 8))
    for stats, name in ((folder.state, 'observation.state'), (folder.action, 'action')):
        z = normalised(mode, {k: v.astype(float) for k, v in STATS[name].items()}, x)
        np.testing.assert_allclose(stats.normalize(x), z, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats.denormalize(z), x, rtol=1e-6, atol=1e-6)


def test_state_and_action_have_each_their_own_mode_and_file(new):
    layout.write_pipelines(new, CONFIG, STATS, {'STATE': 'IDENTITY', 'ACTION': 'MIN_MAX'})
    changed = load_file(new / layout.BEFORE)
    changed['action.min'] = changed['action.min'] - 100.0  # nobody reads it there
    save_file(changed, new / layout.BEFORE)
    folder = read_folder(new, 'smolvla', steps=[STEP])
    x = RNG.normal(size=8)
    assert (folder.state.normalize(x) == x).all() and folder.state.width == 8
    expected = normalised('MIN_MAX', STATS['action'], x)
    np.testing.assert_allclose(folder.action.normalize(x), expected, rtol=1e-5, atol=1e-5)
    assert folder.cameras == ('front', 'wrist')


def test_a_dimension_that_never_moved_is_mapped_to_minus_one(new):
    still = {**STATS, 'action': {**STATS['action'], 'max': STATS['action']['min']}}
    layout.write_pipelines(new, CONFIG, still, {'STATE': 'MIN_MAX', 'ACTION': 'MIN_MAX'})
    stats = read_folder(new, 'smolvla', steps=[STEP]).action
    z = stats.normalize(STATS['action']['min'].astype(float))
    np.testing.assert_allclose(z, -1.0)
    np.testing.assert_allclose(stats.denormalize(z), STATS['action']['min'])


def test_observations_that_the_pipeline_does_not_normalise_stay(new):
    path = new / 'policy_preprocessor.json'
    table = json.loads(path.read_text())
    table['steps'][-1]['config']['normalize_observation_keys'] = ['observation.images.front']
    path.write_text(json.dumps(table))
    folder = read_folder(new, 'smolvla', steps=[STEP])
    x = RNG.normal(size=8)
    assert (folder.state.normalize(x) == x).all()
    assert (folder.action.normalize(x) != x).all()


def test_an_unnorm_key_chooses_among_the_data_sets_in_the_weights(tmp_path):
    red = {name: {k: v + 1.0 for k, v in table.items()} for name, table in STATS.items()}
    tensors = {
        **layout.old_statistics(STATS, 'so100_'),
        **layout.old_statistics(red, 'so100-red_'),
    }
    old_folder(tmp_path, tensors)
    for key, stats in (('so100', STATS), ('so100-red', red)):
        folder = read_folder(tmp_path, 'smolvla', unnorm_key=key)
        np.testing.assert_array_equal(folder.action.mean, stats['action']['mean'])
        np.testing.assert_array_equal(folder.state.mean, stats['observation.state']['mean'])
    with pytest.raises(UnknownNameError, match="Did you mean 'so100-red'"):
        read_folder(tmp_path, 'smolvla', unnorm_key='so100red')
    with pytest.raises(UnknownNameError, match='Known: so100, so100-red'):
        read_folder(tmp_path, 'smolvla')


def test_an_unnorm_key_where_there_is_one_data_set_is_refused(new, tmp_path_factory):
    with pytest.raises(UnknownNameError, match='unnorm_key'):
        read_folder(new, 'smolvla', steps=[STEP], unnorm_key='so100')
    old = old_folder(tmp_path_factory.mktemp('old'), layout.old_statistics(STATS))
    with pytest.raises(UnknownNameError, match='unnorm_key'):
        read_folder(old, 'smolvla', unnorm_key='so100')


def edit(path, change):
    table = json.loads(path.read_text(encoding='utf-8'))
    change(table)
    path.write_text(json.dumps(table), encoding='utf-8')


def without(folder, file, key):
    tensors = load_file(folder / file)
    del tensors[key]
    save_file(tensors, folder / file)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


BREAKS = {
    'foreign type': (
        lambda f: edit(f / 'config.json', lambda c: c.update(type='act')),
        "config.json has type 'act', expected 'smolvla'",
    ),
    'no type': (
        lambda f: edit(f / 'config.json', lambda c: c.pop('type')),
        "has type 'None', expected 'smolvla'",
    ),
    'no config': (lambda f: (f / 'config.json').unlink(), 'config.json'),
    'damaged config': (lambda f: truncate(f / 'config.json'), 'cannot read .*config.json'),
    'no features': (
        lambda f: edit(f / 'config.json', lambda c: c.update(input_features=None)),
        "config.json has no usable 'input_features'",
    ),
    'no state': (
        lambda f: edit(f / 'config.json', lambda c: c['input_features'].pop('observation.state')),
        "no vector 'observation.state'",
    ),
    'unknown step': (
        lambda f: edit(
            f / 'policy_preprocessor.json',
            lambda c: c['steps'].insert(0, {'registry_name': 'joint_velocity_processor'}),
        ),
        "'joint_velocity_processor' that adapter 'smolvla' does not know",
    ),
    'no postprocessor': (
        lambda f: (f / 'policy_postprocessor.json').unlink(),
        'cannot read .*policy_postprocessor.json',
    ),
    'no statistics': (lambda f: (f / layout.BEFORE).unlink(), f'cannot read .*{layout.BEFORE}'),
    'truncated': (lambda f: truncate(f / layout.AFTER), f'cannot read .*{layout.AFTER}'),
    'one statistic less': (
        lambda f: without(f, layout.AFTER, 'action.std'),
        f'{layout.AFTER} has no action.std for MEAN_STD',
    ),
    'no file named': (
        lambda f: edit(f / 'policy_preprocessor.json', lambda c: c['steps'][-1].pop('state_file')),
        'never trained',
    ),
    'another width': (
        lambda f: edit(
            f / 'config.json', lambda c: c['output_features']['action'].update(shape=[6])
        ),
        r"'action' cannot be used: mean has shape \(8,\), expected \(6,\)",
    ),
}


@pytest.mark.parametrize('name', BREAKS)
def test_a_broken_folder_is_one_clear_error(new, name):
    damage, message = BREAKS[name]
    damage(new)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_folder(new, 'smolvla', steps=[STEP])
    assert str(new) in str(caught.value)


def test_a_pipeline_with_a_step_of_another_policy_is_refused(new):
    with pytest.raises(CheckpointError, match=f"'{STEP}' that adapter"):
        read_folder(new, 'smolvla')


def test_an_unknown_mode_names_those_there_are(new):
    layout.write_pipelines(new, CONFIG, STATS, {'STATE': 'MIN_MIX', 'ACTION': 'MIN_MAX'})
    with pytest.raises(UnknownNameError, match="Did you mean 'MIN_MAX'"):
        read_folder(new, 'smolvla', steps=[STEP])


def test_old_weights_without_statistics_say_what_is_missing(tmp_path):
    old_folder(tmp_path, {})
    with pytest.raises(CheckpointError, match='has no policy_preprocessor.json, and'):
        read_folder(tmp_path, 'smolvla')
    infinite = {name: {**t, 'mean': t['mean'] * np.inf} for name, t in STATS.items()}
    old_folder(tmp_path, layout.old_statistics(infinite))
    with pytest.raises(CheckpointError, match="model.safetensors: the statistics of 'observation"):
        read_folder(tmp_path, 'smolvla')
    old_folder(tmp_path, layout.old_statistics({'action': STATS['action']}))
    with pytest.raises(CheckpointError, match='no observation.state.mean and no observation'):
        read_folder(tmp_path, 'smolvla')


def spec_of(relative: str = 'absolute', gripper: bool = True) -> PolicySpec:
    state = (StateSlice('joint_position', 'rad'), StateSlice('gripper', 'open_fraction'))
    action = (
        ActionSlice('joint_position', 'rad', relative),
        ActionSlice('gripper', 'open_fraction'),
    )
    return PolicySpec('p', 'smolvla', (), state, action if gripper else action[:1], 0.1, 5, 5)


def test_statistics_of_several_robots_are_none_of_ours(new):
    # The base model has those of actions only, under names that nothing asks for.
    for name in (layout.BEFORE, layout.AFTER):
        save_file({'so100.buffer.action.mean': np.zeros(8, np.float32)}, new / name)
    with pytest.raises(CheckpointError, match=f'{layout.BEFORE} has no observation.state.mean'):
        read_folder(new, 'smolvla', steps=[STEP])


def test_a_policy_file_of_another_width_is_refused(new):
    folder = read_folder(new, 'smolvla', steps=[STEP])
    folder.require(spec_of(), ROBOT)
    with pytest.raises(CheckpointError, match=f'action dimensions 7, .*{new.name} has 8'):
        folder.require(spec_of(gripper=False), ROBOT)
    shorter = ROBOT.with_arm(joints=ROBOT.joints[:6], home=ROBOT.home[:6])
    with pytest.raises(CheckpointError, match='state dimensions 7'):
        folder.require(spec_of(), shorter)


def test_what_actions_are_relative_to_must_agree(new):
    with pytest.raises(CheckpointError, match='relative to the observation True'):
        read_folder(new, 'smolvla', steps=[STEP]).require(spec_of('observation'), ROBOT)
    relative = {'registry_name': 'relative_actions_processor', 'config': {'enabled': True}}
    edit(new / 'policy_preprocessor.json', lambda c: c['steps'].insert(2, relative))
    folder = read_folder(new, 'smolvla', steps=[STEP])
    folder.require(spec_of('observation'), ROBOT)
    with pytest.raises(CheckpointError, match='relative to the observation False'):
        folder.require(spec_of(), ROBOT)


def test_a_camera_that_never_is_there_is_none(new):
    empty = {'observation.images.empty_camera_0': {'type': 'VISUAL', 'shape': [3, 480, 640]}}
    edit(new / 'config.json', lambda c: c['input_features'].update(empty))
    assert read_folder(new, 'smolvla', steps=[STEP]).cameras == ('front', 'wrist')
