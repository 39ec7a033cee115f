"""The registry, and what every registered policy must do."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
import subprocess
import sys

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.errors import (
    CheckpointError,
    PolicyError,
    RobotPolicyMismatch,
    UnknownNameError,
    VlaError,
)
from vla_ros.policies.base import chunk_seed
from vla_ros.policies.registry import ADAPTERS, create, statistics
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.spec import ImageSpec, PolicySpec, width
from vla_ros.types import Frame, JointState, Observation

ROBOT = load_robot(paths.find('robots', 'panda'))
PAIR = load_robot(paths.find('robots', 'dual_panda'))
DOUBLES = ('hold', 'noise', 'replay', 'scripted')


def _is_here(file) -> bool:
    """Whether all of a policy is; large checkpoints and servers are for users to bring."""
    spec = config.load(file, PolicySpec)
    here = spec.checkpoint is None or (paths.share() / spec.checkpoint).is_dir()
    return here and not spec.adapter.startswith('remote_')


FILES = [f for f in sorted((paths.share() / 'config' / 'policies').glob('*.yaml')) if _is_here(f)]


def robot_of(spec: PolicySpec) -> RobotSpec:
    """Return one arm, or the pair whose arms the policy names."""
    return PAIR if any(part.arm for part in spec.action) else ROBOT


def observation(spec: PolicySpec, stamp: float = 1.0, shift: float = 0.0) -> Observation:
    """Return an observation of grey noise with the arms near their home pose."""
    rng, robot = np.random.default_rng(3), robot_of(spec)
    frames = {}
    for image in spec.images:
        camera = robot.camera(image.camera)
        pixels = rng.integers(0, 255, (camera.height, camera.width, 3), dtype=np.uint8)
        frames[image.camera] = Frame(stamp, pixels)
    position = robot.ready
    position[: robot.dof] += shift
    return Observation(stamp, frames, JointState(stamp, position, position * 0.0), 'reach it')


@pytest.fixture(scope='module', params=FILES, ids=lambda file: file.stem)
def policy(request):
    """Yield each policy that has a file, loaded."""
    spec = config.load(request.param, PolicySpec)
    return create(spec, robot_of(spec))


def test_every_policy_answers_with_finite_actions_of_its_declared_shape(policy):
    policy.reset('reach the red cube', seed=7)
    chunk = policy.infer(observation(policy.spec, stamp=2.5))
    dimensions = width(policy.spec.action, robot_of(policy.spec))
    assert chunk.actions.shape == (policy.spec.horizon, dimensions)
    assert np.isfinite(chunk.actions).all()
    assert (chunk.stamp, chunk.step) == (2.5, policy.spec.step)


def test_every_policy_repeats_itself_from_its_seed(policy):
    runs = []
    for _ in range(2):
        policy.reset('reach the red cube', seed=11)
        runs.append([policy.infer(observation(policy.spec, s)).actions for s in (1.0, 2.0)])
    np.testing.assert_array_equal(runs[0], runs[1])


def test_every_policy_refuses_what_it_cannot_use(policy):
    policy.reset('reach the red cube', seed=0)
    whole = observation(policy.spec)
    short = JointState(1.0, np.zeros(3), np.zeros(3))
    with pytest.raises(VlaError, match='expected'):
        policy.infer(replace(whole, joints=short))
    for image in policy.spec.images:
        rest = {name: frame for name, frame in whole.frames.items() if name != image.camera}
        with pytest.raises(PolicyError, match=image.camera):
            policy.infer(replace(whole, frames=rest))


@pytest.mark.parametrize('name', DOUBLES)
def test_every_double_has_a_file_that_works_without_a_checkpoint(name):
    spec = config.load(paths.find('policies', name), PolicySpec)
    assert (spec.adapter, spec.checkpoint) == (name, None)
    assert statistics(spec) is None


def test_every_policy_refuses_options_that_it_does_not_have(policy):
    spec = replace(policy.spec, options={**policy.spec.options, 'colour': 'red'})
    with pytest.raises(UnknownNameError, match="'colour'"):
        type(policy)(spec, robot_of(spec))


@pytest.mark.parametrize('name', ADAPTERS)
def test_every_adapter_exists(name):
    module, _, cls = ADAPTERS[name].partition(':')
    assert callable(getattr(import_module(module), cls))


def test_an_unknown_adapter_names_the_closest():
    spec = config.load(paths.find('policies', 'hold'), PolicySpec)
    with pytest.raises(UnknownNameError, match="Did you mean 'hold'"):
        create(replace(spec, adapter='hodl'), ROBOT)


def test_a_policy_that_does_not_fit_is_refused_before_it_is_loaded():
    spec = config.load(paths.find('policies', 'hold'), PolicySpec)
    with pytest.raises(RobotPolicyMismatch, match="camera 'ceiling'"):
        create(replace(spec, images=(ImageSpec('ceiling', 64),)), ROBOT)


def test_hold_keeps_the_first_pose_until_it_is_reset():
    spec = config.load(paths.find('policies', 'hold'), PolicySpec)
    policy = create(spec, ROBOT)
    policy.reset('', seed=0)
    first = policy.infer(observation(spec)).actions
    np.testing.assert_allclose(first[0], [*ROBOT.home, 1.0])
    np.testing.assert_array_equal(policy.infer(observation(spec, shift=0.1)).actions, first)
    policy.reset('', seed=0)
    assert policy.infer(observation(spec, shift=0.1)).actions[0, 0] == pytest.approx(
        ROBOT.home[0] + 0.1
    )


def test_chunk_seeds_differ_by_seed_and_by_index():
    seeds = {chunk_seed(seed, index) for seed in range(30) for index in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_registry_and_the_doubles_do_not_import_torch():
    doubles = ', '.join(f'vla_ros.policies.{name}' for name in DOUBLES)
    code = f'import sys, vla_ros.policies.registry, {doubles}; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], timeout=60).returncode == 0


def test_what_an_adapter_did_not_expect_of_a_checkpoint_is_an_error_of_ours(monkeypatch):
    spec = replace(config.load(paths.find('policies', 'hold'), PolicySpec), checkpoint='odd')
    hold = 'vla_ros.policies.hold.HoldPolicy'

    def fail(*_):
        raise AttributeError("'NoneType' object has no attribute 'get'")

    monkeypatch.setattr(f'{hold}.statistics', staticmethod(fail), raising=False)
    monkeypatch.setattr(f'{hold}.__init__', fail)
    for call in (lambda: create(spec, ROBOT), lambda: statistics(spec)):
        with pytest.raises(CheckpointError, match='odd cannot be used: AttributeError: .NoneType'):
            call()


def test_a_package_that_an_adapter_lacks_is_named(monkeypatch):
    spec = replace(config.load(paths.find('policies', 'hold'), PolicySpec), adapter='remote_gr00t')
    monkeypatch.delitem(sys.modules, 'vla_ros.policies.remote_gr00t', raising=False)
    monkeypatch.setitem(sys.modules, 'zmq', None)  # as if it were not installed
    for call in (lambda: create(spec, ROBOT), lambda: statistics(spec)):
        with pytest.raises(PolicyError, match="'remote_gr00t' needs the package 'zmq'"):
            call()
