"""pi0 and pi0.5 in every layout against the second writing of the family in float64."""

from __future__ import annotations

from dataclasses import replace

from case import ROBOT
import numpy as np
from pi_cases import (
    expected,
    FLOWS,
    inputs,
    INSTRUCTION,
    normal,
    observation,
    prompt,
    spec,
    write,
)
from pi_layout import SIZES, weights
from pi_reference import flow
import pytest
from safetensors.torch import load_file, save_file
import torch

from vla_ros import config, paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import PolicyError
from vla_ros.fit import check
from vla_ros.policies import flow as core
from vla_ros.policies.registry import create, statistics
from vla_ros.spec import ImageSpec, PolicySpec
from vla_ros.types import ChunkPrefix, Frame, Guidance

pytestmark = pytest.mark.usefixtures('one_thread')

# Levels of 255 may be rounded up here and down there.
TOLERANCE = {'lerobot': 1e-4, 'openpi': 3e-3, 'transformers': 3e-3}


@pytest.fixture(scope='module', params=FLOWS, ids='-'.join)
def case(request, tmp_path_factory):
    """Yield kind, layout and the folder of a checkpoint that nobody changes."""
    kind, layout = request.param
    return kind, layout, write(tmp_path_factory.mktemp(kind) / layout, kind, layout)


@pytest.fixture(scope='module')
def policy(case):
    kind, _, folder = case
    return create(spec(kind, folder), ROBOT)


def answer(policy, obs, prefix=None, seed=5):
    policy.reset(obs.instruction, seed=seed)
    return policy.infer(obs, prefix)


def test_the_flow_steps_are_those_of_the_policy_file(case):
    kind, layout, folder = case
    obs = observation()
    found = answer(create(spec(kind, folder, flow_steps=3), ROBOT), obs).actions
    want = expected(kind, layout, obs, 5, 3)
    np.testing.assert_allclose(found, want, atol=TOLERANCE[layout])
    assert np.abs(want - expected(kind, layout, obs, 5)).max() > 0.03


@pytest.mark.parametrize('what', ['words', 'scene', 'wrist', 'arm', 'gripper', 'seed'])
def test_every_input_changes_the_answer(policy, what):
    obs = observation()
    position, frames = obs.joints.position.copy(), dict(obs.frames)
    if what in frames:
        frames[what] = Frame(1.0, 255 - frames[what].image)
    elif what in ('arm', 'gripper'):
        position[-1 if what == 'gripper' else 0] += 0.03
    changed = replace(
        obs,
        frames=frames,
        joints=replace(obs.joints, position=position),
        instruction='touch it' if what == 'words' else obs.instruction,
    )
    other = answer(policy, changed, seed=6 if what == 'seed' else 5).actions
    assert np.abs(other - answer(policy, obs).actions).max() > 1e-4


def test_samples_are_drawn_from_one_observation(policy):
    obs = observation()
    one = answer(policy, obs)
    policy.reset(obs.instruction, seed=5)
    first, second = policy.samples(obs, 2)
    np.testing.assert_allclose(first.actions, one.actions, atol=1e-4)
    assert np.abs(second.actions - one.actions).max() > 1e-2
    assert policy.offers == {'guidance', 'samples', 'announcement'}


def plan(obs, steps=5) -> np.ndarray:
    """Return an absolute prefix (steps, 8) that moves away from the joints."""
    along = np.linspace(0.05, 0.4, SIZES.horizon)[:steps, None]
    arm = obs.joints.position[:-1] + along * [1, -1, 1, -1, 1, -1, 1]
    return np.column_stack([arm, np.full(steps, 0.3)])


@pytest.mark.parametrize('jacobian', ['exact', 'identity'])
def test_a_guided_chunk_keeps_to_the_prefix_in_radians(case, policy, jacobian, monkeypatch):
    kind, layout, _ = case
    obs = observation()
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    known = plan(obs)
    seen, guidance = [], core.PrefixGuidance

    def spy(target, *rest, **options):
        seen.append(target)
        return guidance(target, *rest, **options)

    monkeypatch.setattr(core, 'PrefixGuidance', spy)

    def distance(prefix):
        chunk = answer(policy, obs, prefix)
        return np.abs(codec.absolute(chunk, obs.joints)[:2] - known[:2]).max()

    prefix = ChunkPrefix(known, 2, 2, Guidance(jacobian, limit=10.0))
    assert distance(prefix) < 0.6 * distance(None)
    (target,) = seen
    assert target.shape == (5, SIZES.dimensions)
    assert not target[:, 8:].any()  # as in training, what no robot fills is 0
    relative = known - np.append(obs.joints.position[:-1], 0.0)
    np.testing.assert_allclose(
        target[:, :8], normal(kind, layout, relative, 'actions'), atol=1e-5
    )


def test_decoded_joints_are_the_anchor_and_the_actions(policy):
    obs = observation()
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    chunk = answer(policy, obs)
    path = codec.decode(chunk, obs.joints)
    assert path.positions.shape == (SIZES.horizon, 8)
    want = obs.joints.position[:-1] + chunk.actions[:, :-1]
    np.testing.assert_allclose(path.positions[:, :-1], want, atol=1e-9)


def test_statistics_are_read_without_weights(case):
    kind, layout, folder = case
    state, action = statistics(spec(kind, folder))
    values = np.linspace(-1.0, 1.0, 8)
    np.testing.assert_allclose(
        state.normalize(values), normal(kind, layout, values, 'state'), atol=1e-5
    )
    np.testing.assert_allclose(
        action.denormalize(values), normal(kind, layout, values, 'actions', back=True), atol=1e-5
    )


def test_bfloat16_is_near_float32(case, policy):
    kind, _, folder = case
    obs = observation()
    half = create(spec(kind, folder, dtype='bfloat16'), ROBOT)
    assert {p.dtype for p in half.engine.network.parameters()} == {torch.bfloat16}
    gap = np.abs(answer(half, obs).actions - answer(policy, obs).actions).max()
    assert 0.0 < gap < 0.1


def test_a_slot_without_a_picture_is_left_out_and_slots_sort_the_pictures(tmp_path):
    obs = observation()
    size = SIZES.image
    for kind, layout in FLOWS[1:]:
        folder = write(tmp_path / f'{kind}-{layout}', kind, layout)
        swapped = (ImageSpec('wrist', size, 'left_wrist_0_rgb'),
                   ImageSpec('scene', size, 'base_0_rgb'))  # fmt: skip
        found = answer(create(spec(kind, folder, images=swapped), ROBOT), obs).actions
        np.testing.assert_allclose(
            found, expected(kind, layout, obs, 5), atol=TOLERANCE[layout]
        )
        alone = create(spec(kind, folder, images=swapped[:1]), ROBOT)
        images, words, state, noise = inputs(kind, layout, obs, 5)
        chunk = flow(kind, weights(kind), images[1:], words, state, noise).numpy()
        want = normal(kind, layout, chunk[:, :8], 'actions', back=True)
        np.testing.assert_allclose(answer(alone, obs).actions, want, atol=TOLERANCE[layout])


@pytest.mark.parametrize('kind', ['pi0', 'pi05'])
def test_folders_of_early_lerobot_have_bars_of_minus_three(tmp_path, kind):
    obs = observation('lift it')
    folder = write(tmp_path / kind, kind, 'lerobot', use_relative_actions=None)
    policy = create(spec(kind, folder), ROBOT)
    images, words, state, noise = inputs(kind, 'lerobot', obs, 5, border=-3.0)
    if kind == 'pi05':  # the prompt told the padding of the state, bin 128 each
        words = prompt(kind, 'lerobot', obs.instruction, state.numpy())
        assert len(words) > 100
    chunk = flow(kind, weights(kind), images, words, state, noise).numpy()
    want = normal(kind, 'lerobot', chunk[:, :8], 'actions', back=True)
    np.testing.assert_allclose(answer(policy, obs).actions, want, atol=1e-4)
    told = create(spec(kind, folder, options={'border': -1.0, 'padded_state': False}), ROBOT)
    want = expected(kind, 'lerobot', obs, 5)
    np.testing.assert_allclose(answer(told, obs).actions, want, atol=1e-4)


def test_a_network_that_was_trained_for_prefixes_continues_one(tmp_path):
    obs = observation()
    folder = write(tmp_path / 'trained', 'pi05', 'lerobot', rtc_training_max_delay=3)
    policy = create(spec('pi05', folder), ROBOT)
    assert policy.offers == {'guidance', 'samples', 'announcement', 'trained prefix'}
    known = plan(obs)
    found = answer(policy, obs, ChunkPrefix(known, 2, 3, Guidance('trained'))).actions
    images, words, state, noise = inputs('pi05', 'lerobot', obs, 5)
    relative = known[:2] - np.append(obs.joints.position[:-1], 0.0)
    held = np.zeros((2, SIZES.dimensions))
    held[:, :8] = normal('pi05', 'lerobot', relative, 'actions')
    chunk = flow(
        'pi05', weights('pi05'), images, words, state, noise, known=torch.tensor(held)
    ).numpy()
    want = normal('pi05', 'lerobot', chunk[:, :8], 'actions', back=True)
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert np.abs(found - expected('pi05', 'lerobot', obs, 5))[2:].max() > 1e-2
    plain = create(spec('pi05', write(tmp_path / 'plain', 'pi05', 'openpi')), ROBOT)
    with pytest.raises(PolicyError, match='rtc_training_max_delay'):
        answer(plain, obs, ChunkPrefix(known, 2, 3, Guidance('trained')))


def test_older_names_of_the_time_are_known(tmp_path):
    for kind, (new, old) in (
        ('pi0', ('action_time_mlp_', 'time_mlp_')), ('pi05', ('time_mlp_', 'action_time_mlp_')),
    ):  # fmt: skip
        folder = write(tmp_path / kind, kind, 'openpi')
        path = folder / 'model.safetensors'
        tensors = {k.replace(new, old): v for k, v in load_file(path).items()}
        save_file(tensors, path)
        found = answer(create(spec(kind, folder), ROBOT), observation()).actions
        np.testing.assert_allclose(found, expected(kind, 'openpi', observation(), 5), atol=3e-3)


@pytest.mark.parametrize('kind', ['pi0', 'pi05'])
def test_the_periods_of_time_are_those_of_the_folder(tmp_path, kind):
    obs = observation()
    folder = write(tmp_path / kind, kind, 'lerobot', min_period=0.05, max_period=2.0)
    images, words, state, noise = inputs(kind, 'lerobot', obs, 5)
    chunk = flow(kind, weights(kind), images, words, state, noise, periods=(0.05, 2.0)).numpy()
    want = normal(kind, 'lerobot', chunk[:, :8], 'actions', back=True)
    np.testing.assert_allclose(
        answer(create(spec(kind, folder), ROBOT), obs).actions, want, atol=1e-4
    )
    assert np.abs(want - expected(kind, 'lerobot', obs, 5)).max() > 1e-2


def test_lerobot_ends_a_line_once_and_transformers_once_more(tmp_path):
    for layout, ended in (('lerobot', 'lift it'), ('transformers', 'lift it\n')):
        policy = create(spec('pi0', write(tmp_path / layout, 'pi0', layout)), ROBOT)
        want = expected('pi0', layout, observation(ended), 5)
        found = answer(policy, observation('lift it\n')).actions
        np.testing.assert_allclose(found, want, atol=TOLERANCE[layout])


def test_a_prompt_of_the_longest_kind_is_refused(tmp_path):
    policy = create(spec('pi0', write(tmp_path / 'pi0', 'pi0', 'openpi')), ROBOT)
    answer(policy, observation('x' * 46))
    with pytest.raises(PolicyError, match='49 words.*at most 48: shorten the instruction'):
        answer(policy, observation('x' * 47))


def test_an_observation_that_cannot_be_used_is_refused(policy):
    obs = observation(INSTRUCTION)
    with pytest.raises(PolicyError, match="no picture of camera 'wrist'"):
        answer(policy, replace(obs, frames={'scene': obs.frames['scene']}))
    short = replace(obs.joints, position=np.zeros(3), velocity=np.zeros(3))
    with pytest.raises(PolicyError, match='expected'):
        answer(policy, replace(obs, joints=short))


def test_the_state_may_be_left_out_of_the_prompt(tmp_path):
    obs = observation()
    folder = write(tmp_path / 'pi05', 'pi05', 'openpi')
    policy = create(spec('pi05', folder, options={'state_in_prompt': False}), ROBOT)
    images, _, state, noise = inputs('pi05', 'openpi', obs, 5)
    words = prompt('pi0', 'openpi', obs.instruction, state.numpy())
    chunk = flow('pi05', weights('pi05'), images, words, None, noise).numpy()
    want = normal('pi05', 'openpi', chunk[:, :8], 'actions', back=True)
    np.testing.assert_allclose(answer(policy, obs).actions, want, atol=3e-3)


@pytest.mark.parametrize('kind', ['pi0', 'pi05'])
def test_the_policy_file_of_a_family_runs_with_a_small_checkpoint(tmp_path, kind):
    whole = config.load(paths.find('policies', kind), PolicySpec)
    assert check(ROBOT, whole) == []
    folder = write(tmp_path / kind, kind, 'openpi')
    small = replace(
        whole,
        images=tuple(replace(image, size=SIZES.image) for image in whole.images),
        checkpoint=str(folder),
        device='cpu',
        dtype='float32',
        horizon=SIZES.horizon,
        replan_steps=3,
    )
    obs = observation()
    policy = create(small, ROBOT)
    codec = Codec(ROBOT, ROBOT.urdf_path, small)
    chunk = answer(policy, obs)
    path = codec.decode(chunk, obs.joints)
    moved = np.cumsum(3.0 * chunk.actions[:, :7], axis=0) * whole.step  # velocities
    np.testing.assert_allclose(
        path.positions[:, :-1], obs.joints.position[:-1] + moved, atol=1e-9
    )
    assert set(path.positions[:, -1]) <= {ROBOT.gripper.closed, ROBOT.gripper.open}


def test_the_policy_file_of_pi0_fast_fits_the_arm():
    assert check(ROBOT, config.load(paths.find('policies', 'pi0_fast'), PolicySpec)) == []
