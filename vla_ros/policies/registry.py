"""Which adapters exist. An adapter is imported, and torch with it, only when it is asked for."""

from __future__ import annotations

from importlib import import_module

from vla_ros.errors import UnknownNameError
from vla_ros.fit import require_fit
from vla_ros.policies.base import Policy
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec

ADAPTERS = {
    'hold': 'vla_ros.policies.hold:HoldPolicy',
    'remote_gr00t': 'vla_ros.policies.remote_gr00t:RemoteGr00t',
    'remote_lerobot': 'vla_ros.policies.remote_lerobot:RemoteLerobot',
    'remote_openpi': 'vla_ros.policies.remote_openpi:RemoteOpenpi',
    'tiny_pi0': 'vla_ros.policies.tiny_pi0:TinyPi0',
}


def create(spec: PolicySpec, robot: RobotSpec) -> Policy:
    """Build and load the policy that a policy file describes.

    Raises:
        UnknownNameError: No adapter has that name.
        RobotPolicyMismatch: The policy does not fit the robot.
        CheckpointError: The weights cannot be used.
    """
    if spec.adapter not in ADAPTERS:
        raise UnknownNameError('policy adapter', spec.adapter, ADAPTERS, f'policy {spec.name}')
    require_fit(robot, spec)
    module, _, name = ADAPTERS[spec.adapter].partition(':')
    return getattr(import_module(module), name)(spec, robot)
