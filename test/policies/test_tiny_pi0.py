"""The adapter against transformers' own sampling, and what it says of a damaged checkpoint."""

from __future__ import annotations

from dataclasses import replace
import json
import shutil

from case import ROBOT
import cv2
import numpy as np
import pytest
from tiny_pi0_case import observation, SPEC, STATS, stock, write
import torch

from vla_ros import config, paths
from vla_ros.actions.decode import Codec
from vla_ros.actions.schedules import prefix_weights
from vla_ros.errors import CheckpointError, PolicyError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.models.guidance import PrefixGuidance
from vla_ros.policies.base import ask, OFFERS
from vla_ros.policies.hold import HoldPolicy
from vla_ros.policies.tiny_pi0 import central_square, FILES, TinyPi0
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.training.model import HORIZON
from vla_ros.types import ChunkPrefix, Frame, Guidance, JointState, Observation

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a whole checkpoint with random weights."""
    folder = tmp_path_factory.mktemp('checkpoint')
    write(folder)
    return folder


@pytest.fixture(scope='module')
def policy(folder) -> TinyPi0:
    return TinyPi0(replace(SPEC, checkpoint=str(folder)), ROBOT)


@pytest.fixture
def copy(folder, tmp_path):
    """Return a copy that a test may damage."""
    shutil.copytree(folder, tmp_path / 'copy')
    return tmp_path / 'copy'


@pytest.fixture(scope='module', name='observation')
def _observation() -> Observation:
    return observation()


def test_actions_are_those_of_transformers_for_the_same_noise(policy, folder, observation):
    policy.reset(observation.instruction, seed=5)
    for index in range(2):
        chunk = policy.infer(observation)
        expected = stock(folder, observation, 5, index)
        np.testing.assert_allclose(chunk.actions, expected, atol=2e-4)
        assert (chunk.stamp, chunk.step) == (2.0, SPEC.step)
        assert set(chunk.timings) == {'preprocess', 'inference'}
        assert all(value > 0.0 for value in chunk.timings.values())


def test_the_number_of_flow_steps_is_that_of_the_policy_file(folder, observation):
    spec = replace(SPEC, checkpoint=str(folder), flow_steps=2)
    policy = TinyPi0(spec, ROBOT)
    policy.reset(observation.instruction, seed=5)
    found = policy.infer(observation).actions
    np.testing.assert_allclose(found, stock(folder, observation, 5, 0, 2), atol=2e-4)
    assert np.abs(found - stock(folder, observation, 5, 0)).max() > 1e-3


def test_a_seed_decides_and_another_decides_otherwise(policy, observation):
    def run(seed):
        policy.reset(observation.instruction, seed=seed)
        return [policy.infer(observation).actions for _ in range(2)]

    first, again, other = run(3), run(3), run(4)
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.array(first) - other).max() > 1e-3
    assert np.abs(first[0] - first[1]).max() > 1e-3  # every chunk draws anew


@pytest.mark.parametrize('what', ['words', 'scene', 'wrist', 'arm', 'gripper'])
def test_every_input_changes_the_answer(policy, observation, what):
    position = observation.joints.position.copy()
    frames = dict(observation.frames)
    if what in frames:
        frames[what] = Frame(2.0, 255 - frames[what].image)
    elif what != 'words':
        position[-1 if what == 'gripper' else 0] += 0.02
    changed = replace(
        observation,
        frames=frames,
        joints=JointState(2.0, position, position * 0.0),
        instruction='touch the ball' if what == 'words' else observation.instruction,
    )
    answers = []
    for obs in (observation, changed):
        policy.reset(obs.instruction, seed=0)
        answers.append(policy.infer(obs).actions)
    assert np.abs(answers[0] - answers[1]).max() > 1e-6


def test_a_missing_camera_is_named(policy, observation):
    only = replace(observation, frames={'scene': observation.frames['scene']})
    with pytest.raises(PolicyError, match="no picture of camera 'wrist'"):
        policy.infer(only)


@pytest.mark.parametrize('size', [3, 7, 9])
def test_a_state_of_another_robot_is_refused(policy, observation, size):
    joints = JointState(2.0, np.zeros(size), np.zeros(size))
    with pytest.raises(PolicyError, match='expected 8'):
        policy.infer(replace(observation, joints=joints))


def refused(folder, match: str, **changes) -> None:
    """Assert that loading fails with a CheckpointError that says `match` and what to do."""
    with pytest.raises(CheckpointError, match=match) as caught:
        TinyPi0(replace(SPEC, checkpoint=str(folder), **changes), ROBOT)
    cures = ('opy it again', 'vla train', 'policy file', 'expected')
    assert any(cure in str(caught.value) for cure in cures)


@pytest.mark.parametrize('name', [*FILES, 'tokenizer_config.json'])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    refused(copy, name)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    refused(tmp_path / 'nowhere', 'nowhere')
    with pytest.raises(CheckpointError, match='names no checkpoint'):
        TinyPi0(replace(SPEC, checkpoint=None), ROBOT)


@pytest.mark.parametrize('kept', [0, 7, 1000, -1])
def test_cut_weights_are_refused(copy, kept):
    path = copy / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:kept])
    refused(copy, 'damaged')


@pytest.mark.parametrize('name', ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
@pytest.mark.parametrize('text', ['', '{', '[]'])
def test_damaged_text_is_refused(copy, name, text):
    (copy / name).write_text(text, encoding='utf-8')
    refused(copy, 'copy')


def test_a_missing_and_an_unknown_tensor_are_named(copy):
    from safetensors.torch import load_file, save_file

    path = copy / 'model.safetensors'
    whole = load_file(path)
    name = 'action_out_proj.bias'
    save_file({k: v for k, v in whole.items() if k != name}, path, {'format': 'pt'})
    refused(copy, rf'missing_keys.*{name}')
    save_file({**whole, 'extra': torch.zeros(1)}, path, {'format': 'pt'})
    refused(copy, 'unexpected_keys.*extra')
    save_file({**whole, name: torch.zeros(5)}, path, {'format': 'pt'})
    refused(copy, name)


def test_a_policy_file_of_another_checkpoint_is_refused(folder):
    refused(folder, 'horizon 8.*12', horizon=8)
    refused(folder, 'action dimensions 3', action=SPEC.action[:1])
    larger = tuple(replace(image, size=128) for image in SPEC.images)
    refused(folder, r'image sizes \{128\}', images=larger)


def cut(table: dict, key: str, rows: slice) -> dict:
    return {**table, key: {k: v[rows] for k, v in table[key].items()}}


@pytest.mark.parametrize(
    ('stats', 'match'),
    [
        ({'state': STATS['state']}, 'actions'),
        ({'actions': STATS['actions']}, 'state'),
        (cut(STATS, 'state', slice(3)), r'state statistics \(3,\)'),
        (cut(STATS, 'actions', slice(10)), 'action statistics'),
        ({**STATS, 'actions': STATS['state']}, None),  # one row for all steps: allowed
        ({**STATS, 'state': {'mean': [0.0] * 4, 'std': [1.0, 0.0, 1.0, 1.0]}}, 'std > 0'),
        ({**STATS, 'state': {'mean': [0.0] * 4, 'std': [1.0] * 3}}, 'statistics'),
        ({**STATS, 'state': {'mean': 'abcd', 'std': [1.0] * 4}}, 'statistics'),
    ],
)
def test_statistics_that_do_not_fit_are_refused(copy, observation, stats, match):
    path = copy / 'norm_stats.json'
    path.write_text(json.dumps({'norm_stats': stats}), encoding='utf-8')
    if match is None:
        policy = TinyPi0(replace(SPEC, checkpoint=str(copy)), ROBOT)
        assert policy.infer(observation).actions.shape == (HORIZON, 4)
    else:
        refused(copy, match)


@pytest.mark.parametrize('shape', [(48, 64), (64, 48), (48, 48), (49, 64), (48, 63)])
def test_a_central_square_is_central(shape):
    rows, columns = np.indices(shape)
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    side = min(shape)
    square = central_square(image, side)
    assert square.shape == (side, side, 3)
    for axis in (0, 1):
        before = int(square[0, 0, axis])
        after = shape[axis] - 1 - int(square[-1, -1, axis])
        assert 0 <= after - before <= 1
    assert np.array_equal(square, image[square[0, 0, 0] :, square[0, 0, 1] :][:side, :side])


def test_a_central_square_averages_what_it_reduces():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    blocks = image[:, 80:560].reshape(96, 5, 96, 5, 3).mean((1, 3))
    assert np.abs(central_square(image, 96) - blocks).max() <= 0.51


@pytest.mark.parametrize(('side', 'size'), [(480, 96), (288, 96), (224, 32), (480, 160)])
def test_the_quick_average_of_an_odd_number_of_pixels_is_that_of_opencv(side, size):
    rng = np.random.default_rng(size)
    image = rng.integers(0, 256, (side, side + 60, 3), dtype=np.uint8)
    plain = cv2.resize(image[:, 30:-30], (size, size), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(central_square(image, size), plain)


ABSOLUTE = (ActionSlice('tool_position', 'm'), SPEC.action[1])


def near(obs: Observation, known: int) -> np.ndarray:
    """Return an absolute prefix (known, 4) a little beside the tool."""
    arm = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    here = arm.fk(obs.joints.position[:-1])[1]
    along = np.linspace(0.005, 0.06, HORIZON)[:known, None] * [1.0, -1.0, 0.5]
    return np.column_stack([here + along, np.full(known, 0.8)])


def answer(policy, obs, prefix=None):
    policy.reset(obs.instruction, seed=7)
    return policy.infer(obs, prefix).actions


def prefix_of(obs, *, known=8, delay=3, horizon=4, **guidance) -> ChunkPrefix:
    chosen = Guidance(**guidance) if guidance else None
    return ChunkPrefix(near(obs, known), delay, horizon, chosen)


@pytest.fixture
def trained(copy) -> TinyPi0:
    """Return a policy whose checkpoint says that it was trained for prefixes of 3 steps."""
    path = copy / 'config.json'
    table = json.loads(path.read_text(encoding='utf-8'))
    path.write_text(json.dumps({**table, 'rtc_training_max_delay': 3}), encoding='utf-8')
    return TinyPi0(replace(SPEC, checkpoint=str(copy)), ROBOT)


def test_what_is_offered_is_what_the_checkpoint_was_trained_for(policy, trained):
    assert policy.offers == {'guidance', 'samples', 'announcement'}
    assert trained.offers == {'guidance', 'samples', 'announcement', 'trained prefix'}
    assert set().union(policy.offers, trained.offers) == set(OFFERS) - {'interrupt'}


def test_it_says_when_its_inputs_are_ready(policy, observation, monkeypatch):
    order, prepare, chunks = [], policy._prepare, policy.chunks
    monkeypatch.setattr(policy, '_prepare', lambda obs: order.append('inputs') or prepare(obs))
    monkeypatch.setattr(policy, 'chunks', lambda *a: order.append('network') or chunks(*a))
    ask(policy, observation, 1, None, lambda: order.append('ready'))
    ask(policy, observation, 2, None, lambda: order.append('ready'))
    assert order == ['inputs', 'ready', 'network'] * 2
    ask(policy, observation, 1, None)
    assert order[6:] == ['inputs', 'network']


def test_of_a_policy_that_does_not_tell_inputs_count_as_ready_at_once(observation):
    hold = HoldPolicy(config.load(paths.find('policies', 'hold'), PolicySpec), ROBOT)
    order, infer = [], hold.infer
    hold.infer = lambda *a: order.append('asked') or infer(*a)
    ask(hold, observation, 1, None, lambda: order.append('ready'))
    assert order == ['ready', 'asked']


def test_a_policy_without_offers_ignores_a_prefix(observation):
    hold = HoldPolicy(config.load(paths.find('policies', 'hold'), PolicySpec), ROBOT)
    assert hold.offers == frozenset()
    assert np.array_equal(
        answer(hold, observation, prefix_of(observation, jacobian='exact')),
        answer(hold, observation),
    )


def test_a_prefix_without_guidance_changes_nothing(policy, observation):
    free = answer(policy, observation)
    assert np.array_equal(answer(policy, observation, prefix_of(observation)), free)
    for horizon, known in ((HORIZON, 8), (HORIZON + 5, 8), (4, 0)):  # the mask ends at once
        nothing = prefix_of(observation, horizon=horizon, known=known, jacobian='exact')
        assert np.array_equal(answer(policy, observation, nothing), free)


@pytest.mark.parametrize('action', [SPEC.action, ABSOLUTE], ids=['relative', 'absolute'])
@pytest.mark.parametrize('jacobian', ['exact', 'identity'])
def test_guided_actions_keep_to_the_prefix_in_metres(folder, observation, jacobian, action):
    """The weights are random, so the Jacobian is near the identity and the pull is strong."""
    policy = TinyPi0(replace(SPEC, checkpoint=str(folder), action=action), ROBOT)
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    known = near(observation, 8)

    def distance(prefix):
        policy.reset(observation.instruction, seed=7)
        chunk = policy.infer(observation, prefix)
        return np.abs(codec.absolute(chunk, observation.joints)[:3] - known[:3]).max()

    free = distance(None)
    guided = distance(prefix_of(observation, jacobian=jacobian, limit=10.0))
    assert guided < 0.15 * free


@pytest.mark.parametrize('known, horizon, end', [(8, 4, 8), (5, 4, 5), (10, 4, 8), (12, 7, 5)])
def test_the_guidance_ends_with_the_prefix_and_the_next_inference(
    policy, observation, monkeypatch, known, horizon, end
):
    seen = []

    def spy(target, weights, limit, *, exact):
        seen.append((target, weights, limit, exact))
        return PrefixGuidance(target, weights, limit, exact=exact)

    monkeypatch.setattr('vla_ros.policies.flow.PrefixGuidance', spy)
    prefix = prefix_of(
        observation,
        known=known,
        horizon=horizon,
        jacobian='identity',
        schedule='linear',
        limit=2.0,
    )
    answer(policy, observation, prefix)
    ((target, weights, limit, exact),) = seen
    assert (limit, exact, target.dtype, target.shape) == (2.0, False, torch.float32, (known, 4))
    np.testing.assert_allclose(weights, prefix_weights(HORIZON, 3, end, 'linear'), atol=1e-7)
    assert weights[end - 1] > 0.0
    anchor = near(observation, 1)[0] - [0.005, -0.005, 0.0025, 0.8]  # the tool; the gripper's is 0
    mean, std = (np.array(STATS['actions'][k])[:known] for k in ('mean', 'std'))
    expected = (near(observation, known) - anchor - mean) / std
    np.testing.assert_allclose(target, expected, atol=1e-5)


def test_one_row_of_statistics_serves_every_step_of_a_prefix(copy, observation):
    rows = {**STATS, 'actions': STATS['state']}
    path = copy / 'norm_stats.json'
    path.write_text(json.dumps({'norm_stats': rows}), encoding='utf-8')
    policy = TinyPi0(replace(SPEC, checkpoint=str(copy)), ROBOT)
    guided = answer(policy, observation, prefix_of(observation, jacobian='identity', limit=10.0))
    assert np.abs(guided - answer(policy, observation)).max() > 1e-3


@pytest.mark.parametrize('delay, kept', [(0, 0), (2, 2), (3, 3), (5, 3)])
def test_a_trained_prefix_is_kept_as_far_as_the_training_went(trained, observation, delay, kept):
    codec = Codec(ROBOT, ROBOT.urdf_path, SPEC)
    trained.reset(observation.instruction, seed=7)
    prefix = prefix_of(observation, delay=delay, jacobian='trained')
    chunk = trained.infer(observation, prefix)
    gap = np.abs(codec.absolute(chunk, observation.joints)[:8] - prefix.actions).max(axis=1)
    assert (gap[:kept] < 1e-6).all()
    assert (gap[kept:] > 1e-4).all()


def test_a_prefix_that_the_policy_cannot_take_is_refused(policy, observation):
    for changes, error, match in (
        ({'jacobian': 'trained'}, PolicyError, 'no rtc_training_max_delay; choose'),
        ({'jacobian': 'exakt'}, UnknownNameError, "Did you mean 'exact'"),
        ({'jacobian': 'exact', 'schedule': 'cubic'}, UnknownNameError, 'schedule'),
    ):
        with pytest.raises(error, match=match):
            answer(policy, observation, prefix_of(observation, **changes))
    long = np.vstack([near(observation, HORIZON), near(observation, 1)])
    with pytest.raises(PolicyError, match='13 steps, expected at most 12'):
        answer(policy, observation, ChunkPrefix(long, 3, 4, Guidance('exact')))
    wide = ChunkPrefix(np.zeros((4, 5)), 3, 4, Guidance('exact'))
    with pytest.raises(PolicyError, match='5 dimensions, expected 4'):
        answer(policy, observation, wide)


def test_samples_are_drawn_from_one_encoded_observation(policy, observation):
    policy.reset(observation.instruction, seed=7)
    one, again = policy.infer(observation), policy.infer(observation)
    policy.reset(observation.instruction, seed=7)
    first, second = policy.samples(observation, 3), policy.samples(observation, 1)
    assert [len(first), len(second)] == [3, 1]
    np.testing.assert_allclose(first[0].actions, one.actions, atol=1e-5)
    np.testing.assert_allclose(second[0].actions, again.actions, atol=1e-5)
    assert all(c.stamp == observation.stamp and c.step == SPEC.step for c in first)
    for k in range(3):
        for other in first[:k]:
            assert np.abs(first[k].actions - other.actions).max() > 1e-3
    with pytest.raises(PolicyError, match='0 samples asked for, expected at least 1'):
        policy.samples(observation, 0)


def test_a_camera_may_keep_its_tokens_within_an_episode():
    spec = replace(SPEC, options={'keep_change': 10.0, 'keep_chunks': 1})
    plain, kept = TinyPi0(SPEC, ROBOT), TinyPi0(spec, ROBOT)
    first = observation()
    black = {name: Frame(f.stamp, 0 * f.image) for name, f in first.frames.items()}
    second = replace(first, frames=black)
    for policy in (plain, kept):
        policy.reset(first.instruction, seed=3)
    asked = (first, second, second)
    right, found = ([p.infer(obs).actions for obs in asked] for p in (plain, kept))
    np.testing.assert_allclose(found[0], right[0], atol=1e-6)
    assert np.abs(found[1] - right[1]).max() > 1e-3  # with the tokens of the first pictures
    np.testing.assert_allclose(found[2], right[2], atol=1e-6)
    for policy in (plain, kept):
        policy.reset(first.instruction, seed=4)
    np.testing.assert_allclose(kept.infer(second).actions, plain.infer(second).actions, atol=1e-6)
