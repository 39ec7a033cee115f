"""Which adapters exist. An adapter is imported, and torch with it, only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from vla_ros.errors import CheckpointError, PolicyError, UnknownNameError, VlaError
from vla_ros.fit import require_fit
from vla_ros.policies.base import Policy
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Statistics

ADAPTERS = {
    'hold': 'vla_ros.policies.hold:HoldPolicy',
    'noise': 'vla_ros.policies.noise:NoisePolicy',
    'openvla': 'vla_ros.policies.openvla:OpenVla',
    'openvla_oft': 'vla_ros.policies.openvla_oft:OpenVlaOft',
    'pi0': 'vla_ros.policies.pi0:Pi0',
    'pi05': 'vla_ros.policies.pi05:Pi05Policy',
    'pi0_fast': 'vla_ros.policies.pi0_fast:Pi0FastPolicy',
    'remote_gr00t': 'vla_ros.policies.remote_gr00t:RemoteGr00t',
    'remote_lerobot': 'vla_ros.policies.remote_lerobot:RemoteLerobot',
    'remote_openpi': 'vla_ros.policies.remote_openpi:RemoteOpenpi',
    'replay': 'vla_ros.policies.replay:ReplayPolicy',
    'scripted': 'vla_ros.policies.scripted:ScriptedPolicy',
    'smolvla': 'vla_ros.policies.smolvla:SmolVLAPolicy',
    'tiny_pi0': 'vla_ros.policies.tiny_pi0:TinyPi0',
}


def create(spec: PolicySpec, robot: RobotSpec) -> Policy:
    """Build and load the policy that a policy file describes.

    Raises:
        UnknownNameError: No adapter has that name.
        PolicyError: A package that it needs is not installed, or it cannot be compiled.
        RobotPolicyMismatch: The policy does not fit the robot.
        CheckpointError: The weights cannot be used.
    """
    cls = _adapter(spec)
    if spec.compile and not hasattr(cls, 'hot'):
        raise PolicyError(
            f"policy {spec.name}: adapter '{spec.adapter}' has no part to compile; leave "
            "'compile:' out of the policy file."
        )
    require_fit(robot, spec)
    with _readable(spec):
        policy: Policy = cls(spec, robot)
    if spec.compile:
        import_module('vla_ros.policies.compiling').compile_hot(policy, robot)
    return policy


def statistics(spec: PolicySpec) -> tuple[Statistics, Statistics] | None:
    """Read a checkpoint's statistics of state and action, without its weights.

    None where its adapter has no `statistics(spec)`, see `Policy`.

    Raises:
        UnknownNameError: No adapter has that name.
        PolicyError: A package that it needs is not installed.
        CheckpointError: There are none, or they are damaged.
    """
    read = getattr(_adapter(spec), 'statistics', None)
    with _readable(spec):
        found: tuple[Statistics, Statistics] | None = None if read is None else read(spec)
    return found


@contextmanager
def _readable(spec: PolicySpec) -> Iterator[None]:
    """Turn what is wrong with a checkpoint in a way that its adapter did not expect into an error.

    Its files are foreign data, and libraries that build networks of them raise what comes.
    """
    try:
        yield
    except VlaError:
        raise
    except Exception as error:
        raise CheckpointError(
            f'policy {spec.name}: the checkpoint {spec.checkpoint} cannot be used: '
            f'{type(error).__name__}: {error}. It is damaged or of another model; copy it again.'
        ) from error


def _adapter(spec: PolicySpec) -> Any:
    if spec.adapter not in ADAPTERS:
        raise UnknownNameError('policy adapter', spec.adapter, ADAPTERS, f'policy {spec.name}')
    module, _, name = ADAPTERS[spec.adapter].partition(':')
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise PolicyError(
            f"policy {spec.name}: adapter '{spec.adapter}' needs the package '{error.name}', "
            'which is not installed here; requirements/direct.txt names its version.'
        ) from error
